package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"crier/internal/telemetry"
)

// Version is what the program says of itself.
const Version = "0.1.0"

// cli is the whole command line.
type cli struct {
	LogLevel  string `complete:"debug,info,warn,error" env:"CRIER_LOG_LEVEL" default:"info" help:"debug, info, warn or error."`
	LogFormat string `complete:"text,json" env:"CRIER_LOG_FORMAT" default:"text" help:"text or json."`
	Config    string `complete:"file" env:"CRIER_CONFIG" help:"File with lines NAME=value of the variables that the environment does not set."`
	DataDir   string `complete:"file" env:"CRIER_DATA_DIR" default:".crier" help:"Where the embedded parts keep their data; a restart finds it again."`

	Run      runCmd      `cmd:"" default:"withargs" help:"Run every part in one process, on embedded Kafka, Postgres and mail catcher where no others are named (the default)."`
	Gateway  gatewayCmd  `cmd:"" help:"Run the HTTP part alone."`
	Monitor  monitorCmd  `cmd:"" help:"Run the price part alone: feeds and the alert matcher."`
	Consumer consumerCmd `cmd:"" help:"Run the inbox part alone."`
	Send     sendCmd     `cmd:"" help:"Produce one notification, or many from standard input as JSON lines."`
	Listen   listenCmd   `cmd:"" help:"Follow a user's stream in the terminal."`
	Token    tokenCmd    `cmd:"" help:"Mint a token for development."`
	Topics   topicsCmd   `cmd:"" help:"Make the topics, or say how they are."`
	Migrate  migrateCmd  `cmd:"" help:"Bring the database's schema up to date."`
	Keys     keysCmd     `cmd:"" help:"Make, list, rotate and revoke the API keys of services."`
	Invites  invitesCmd  `cmd:"" help:"Make invitations to sign up."`
	Alerts   alertsCmd   `cmd:"" help:"Bring a user's alerts in and out as CSV or JSON lines."`
	Import   importCmd   `cmd:"" help:"Bring in the users, rooms, accounts, destinations and alerts of another system as JSON lines."`
	Bot      botCmd      `cmd:"" help:"Run the chat bot, a client like any other: quotes, prices and alerts in rooms."`
	Users    usersCmd    `cmd:"" help:"Export or erase all that is kept of a user."`
	Rooms    roomsCmd    `cmd:"" help:"Make, list and remove chat rooms."`
	Bench    benchCmd    `cmd:"" help:"Put load on Crier's own pipeline and print a table."`
	Complete completeCmd `cmd:"" name:"completion" help:"Print the script that completes commands and flags in a shell."`
	Health   healthCmd   `cmd:"" help:"Ask the admin listener whether this installation is ready; for containers."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
	Help     helpCmd     `cmd:"" help:"Show the help of a command."`

	ShowVersion kong.VersionFlag `name:"version" help:"Print the version."`
}

// Program is one invocation: what it was given, and where it writes. Tests
// make one as main does.
type Program struct {
	Args   []string
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	// FailFunc is called at named points of the parts; tests kill the process
	// there. nil does nothing.
	FailFunc func(point string)
	// BenchTarget lets a test run the load against what it has started.
	ShutdownLimit time.Duration // 0: 10 s, the contract's
}

// env is what subcommands get.
type env struct {
	Program
	ctx     context.Context
	out     *output // Program.Stdout
	log     *slog.Logger
	dataDir string

	shownArgs []string // Program.Args without secrets
}

// Main runs the program and returns its exit code. It ends when ctx does.
func Main(ctx context.Context, p Program) int {
	var c cli
	out := &output{w: p.Stdout}
	parser, err := kong.New(&c, kong.Name("crier"), kong.Description("Live notifications from Kafka to the browser."),
		kong.Writers(out, p.Stderr), kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.ValueFormatter(helpText), kong.Vars{"version": "crier " + Version},
		kong.Exit(func(code int) { panic(exit(code)) }))
	if err != nil {
		fmt.Fprintln(p.Stderr, "crier:", err)
		return 1
	}
	code := parseAndRun(ctx, p, out, parser, &c)
	if err := out.failed(); err != nil && code == 0 {
		printError(p.Stderr, c.LogFormat, err)
		return 1
	}
	return code
}

// Signals end the program in order: also that of a terminal which is closed, unless the
// program is to survive it, as under nohup.
func Signals() []os.Signal {
	end := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		end = append(end, syscall.SIGHUP)
	}
	return end
}

// output is standard output. A command whose output was not written has failed, even if
// all else that it does is done, so the first error is kept.
type output struct {
	w   io.Writer
	mu  sync.Mutex
	err error
}

// Write writes to standard output, until that has failed.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.w.Write(b)
	if err != nil {
		o.err = fmt.Errorf("writing to standard output: %w", err)
	}
	return n, o.err
}

// failed returns the first error.
func (o *output) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// exit carries kong's wish to end (after --help) out of its parser.
type exit int

func parseAndRun(ctx context.Context, p Program, out *output, parser *kong.Kong, c *cli) (code int) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case exit:
			code = int(e)
		default:
			panic(e)
		}
	}()
	if len(p.Args) > 0 && p.Args[0] == completeWord {
		printCandidates(out, parser.Model, p.Args[1:])
		return 0
	}
	set := newSettings(parser)
	if err := kong.Resolvers(set).Apply(parser); err != nil {
		fmt.Fprintln(p.Stderr, "crier:", err)
		return 1
	}
	parsed, err := parser.Parse(p.Args)
	if err != nil {
		// The format may be what could not be read: flag and variable are looked at.
		if i := slices.Index(p.Args, "--log-format"); i >= 0 && i+1 < len(p.Args) && p.Args[i+1] == "json" || slices.Contains(p.Args, "--log-format=json") || os.Getenv("CRIER_LOG_FORMAT") == "json" {
			c.LogFormat = "json"
		}
		printError(p.Stderr, c.LogFormat, fmt.Errorf("%w (crier --help lists commands and flags)", err))
		return 2
	}
	log, err := telemetry.NewLogger(p.Stderr, c.LogLevel, c.LogFormat)
	if err := errors.Join(append(set.faults, err, checkCommand(parsed))...); err != nil {
		printError(p.Stderr, c.LogFormat, err)
		return 2
	}
	if p.Stderr == io.Writer(os.Stderr) {
		// Libraries that print through the standard log package write to the same place:
		// their lines take the log's format.
		slog.SetDefault(log)
	}
	if p.ShutdownLimit == 0 {
		p.ShutdownLimit = 10 * time.Second
	}
	e := &env{Program: p, ctx: ctx, out: out, log: log, dataDir: c.DataDir, shownArgs: set.mask(p.Args)}
	if err := parsed.Run(e); err != nil {
		var codeErr exitError
		if errors.As(err, &codeErr) {
			return int(codeErr)
		}
		printError(p.Stderr, c.LogFormat, err)
		return 1
	}
	return 0
}

// printError writes each of joined errors in a line of its own, in the format of the log.
func printError(w io.Writer, format string, err error) {
	if format == "json" {
		log := slog.New(slog.NewJSONHandler(w, nil))
		for _, err := range joined(err) {
			log.Error(oneLine(err))
		}
		return
	}
	for _, err := range joined(err) {
		fmt.Fprintln(w, "crier:", oneLine(err))
	}
}

// joined returns the errors of errors.Join, one by one.
func joined(err error) (errs []error) {
	several, ok := err.(interface{ Unwrap() []error })
	if !ok || len(several.Unwrap()) == 0 || err.Error() != errors.Join(several.Unwrap()...).Error() {
		return []error{err} // also that of fmt.Errorf with several %w
	}
	for _, e := range several.Unwrap() {
		errs = append(errs, joined(e)...)
	}
	return errs
}

// oneLine is an error's text in one line, without repetition: pgx writes a line for each
// try at each address.
func oneLine(err error) string {
	var parts []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(parts, line) {
			parts = append(parts, line)
		}
	}
	return strings.ReplaceAll(strings.Join(parts, "; "), ":; ", ": ")
}

// exitError is a failure with an exit code of its own, which has been reported.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

type versionCmd struct{}

func (versionCmd) Run(e *env) error {
	e.printf("crier %s\n", Version)
	return nil
}

// helpCmd is --help under the name that people try first.
type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command; none: all of them."`
}

// Run is called by the parser.
func (c helpCmd) Run(e *env) error {
	p := e.Program
	p.Args = append(slices.Clone(c.Command), "--help")
	if code := Main(e.ctx, p); code != 0 {
		return exitError(code)
	}
	return nil
}

// printf writes to standard output; Main reports where it fails.
func (e *env) printf(format string, args ...any) { fmt.Fprintf(e.out, format, args...) }

// isTerminal says whether a writer is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
