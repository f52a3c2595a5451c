package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"crier/internal/lifecycle"
)

// Profile is where the profiles of the loaded process go.
type Profile struct {
	File  string // CPU; the heap's is FILE.heap
	Admin string // host:port of the process's /debug/pprof
}

// take profiles from now on, in whole seconds, and returns how to wait for the
// end of it. A nil Profile takes none.
func (p *Profile) take(ctx context.Context, lasts time.Duration) (wait func() error) {
	if p == nil {
		return func() error { return nil }
	}
	group := lifecycle.NewGroup(ctx)
	group.Go("profile", func(ctx context.Context) error {
		return p.fetch(ctx, fmt.Sprintf("profile?seconds=%d", max(1, int(lasts.Seconds()))), p.File)
	})
	return func() error {
		err := group.Wait(ctx)
		return errors.Join(err, group.Err(), p.fetch(ctx, "heap", p.File+".heap"))
	}
}

func (p *Profile) fetch(ctx context.Context, what, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin+"/debug/pprof/"+what, nil)
	if err != nil {
		return fmt.Errorf("asking for a profile: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking for a profile: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %.200s", resp.StatusCode, b)
	}
	if err == nil {
		err = os.WriteFile(file, b, 0o644)
	}
	if err != nil {
		return fmt.Errorf("reading a profile: %w", err)
	}
	return nil
}
