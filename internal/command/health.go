package command

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// healthCmd asks the admin listener, for containers without a shell.
type healthCmd struct {
	adminFlags `embed:""`
}

// Run is called by the parser.
func (c *healthCmd) Run(e *env) error {
	if facts, err := e.readRunFile(); err == nil && c.AdminAddr == defaultAdminAddr {
		c.AdminAddr = strings.TrimPrefix(facts.Admin, "http://") // the embedded run of this data dir
	}
	host, port, err := net.SplitHostPort(c.AdminAddr)
	if err != nil {
		return fmt.Errorf("CRIER_ADMIN_ADDR: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // a listener on every address is asked on this one
	}
	ctx, cancel := context.WithTimeout(e.ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return fmt.Errorf("asking for health: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", text)
	}
	fmt.Fprintf(e.Stdout, "%s", text) // the exit code is the answer
	return nil
}
