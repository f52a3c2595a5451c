// Crier brings live notifications from Kafka to the browser. See README.md.
package main

import (
	"context"
	"os"
	"os/signal"

	"crier/internal/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), command.Signals()...)
	code := command.Main(ctx, command.Program{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	stop()
	os.Exit(code)
}
