package criertest

import (
	"context"
	"errors"
	"flag"
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

// atOnce is how many tests of a package run at the same time, unless -parallel says
// otherwise. They wait more than they work: for leases to expire, for pages, for
// processes to come back; go test's default, a test a processor, leaves it idle.
const atOnce = "8"

// Main runs the tests, stops the shared servers, checks for goroutines that are
// left (with the options given), and exits. In a child process made by Start it
// is the program instead.
func Main(m *testing.M, opts ...goleak.Option) {
	beProgram()
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set(atOnce); err != nil {
			panic(err) // it is a number
		}
	}
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
