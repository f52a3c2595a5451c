package criertest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// stopPatience bounds the stop of one shared server.
const stopPatience = 30 * time.Second

// stops ends the shared servers of this test binary, last started first.
var stops struct {
	mu   sync.Mutex
	list []func(context.Context) error
}

func atEnd(stop func(context.Context) error) {
	stops.mu.Lock()
	defer stops.mu.Unlock()
	stops.list = append(stops.list, stop)
}

// Main runs the tests, stops the shared servers, checks for goroutines that are
// left (with the options given), and exits. In a child process made by Start it
// is the program instead.
func Main(m *testing.M, opts ...goleak.Option) {
	beProgram()
	code := m.Run()
	http.DefaultClient.CloseIdleConnections() // tests share it
	if err := stopAll(); err != nil {
		fmt.Fprintln(os.Stderr, "criertest:", err)
		code = max(code, 1)
	}
	if code == 0 { // a failed test may leave what it did not get to end
		if err := goleak.Find(opts...); err != nil {
			fmt.Fprintln(os.Stderr, "criertest: goroutines left at the end:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func stopAll() error {
	stops.mu.Lock()
	defer stops.mu.Unlock()
	var errs error
	for _, stop := range slices.Backward(stops.list) {
		ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
		errs = errors.Join(errs, stop(ctx))
		cancel()
	}
	stops.list = nil
	return errs
}

// shared is a server that is started at its first use; later uses, and all after
// a start that went wrong, get what the first got.
type shared[T any] struct {
	once  sync.Once
	value T
	err   error
}

func (s *shared[T]) get(tb testing.TB, start func() (T, error)) T {
	tb.Helper()
	s.once.Do(func() { s.value, s.err = start() })
	if s.err != nil {
		tb.Fatalf("criertest: %v", s.err)
	}
	return s.value
}

// missing skips the test, or fails it when CRIER_TEST_REQUIRE demands what.
func missing(tb testing.TB, what, reason string) {
	tb.Helper()
	if slices.Contains(strings.Split(os.Getenv("CRIER_TEST_REQUIRE"), ","), what) {
		tb.Fatalf("CRIER_TEST_REQUIRE demands %s: %s", what, reason)
	}
	tb.Skipf("without %s: %s", what, reason)
}

// serverDir makes a folder for a shared server's data. It can be passed through
// by the account that Postgres runs as; what is in it is closed.
func serverDir(name string) (dir string, remove func() error, err error) {
	dir, err = os.MkdirTemp("", "crier-test-"+name+"-")
	if err != nil {
		return "", nil, fmt.Errorf("making a folder for %s: %w", name, err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return "", nil, fmt.Errorf("opening the folder for %s: %w", name, err)
	}
	return dir, func() error { return removeAll(dir) }, nil
}

// removeAll removes a server's folder. A server that was killed may still be
// writing its last file.
func removeAll(dir string) error {
	for deadline := time.Now().Add(10 * time.Second); ; pause(50 * time.Millisecond) {
		if err := os.RemoveAll(dir); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
