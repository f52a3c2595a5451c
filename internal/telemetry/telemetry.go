// Package telemetry sets up what an operator sees: structured logs, metrics,
// and the admin listener with /metrics, /healthz, /readyz and /debug/pprof.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"crier/internal/hostname"
	"crier/internal/lifecycle"
)

// Secret is a text that never reaches a log: it prints as redacted.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "redacted"
}

// GoString keeps %#v from showing it.
func (s Secret) GoString() string { return s.String() }

// LogValue keeps slog from showing it.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// NewLogger makes the program's logger. level is debug, info, warn or error;
// format is text or json.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var at slog.Level
	var errs []error
	if err := at.UnmarshalText([]byte(level)); err != nil {
		errs = append(errs, fmt.Errorf("CRIER_LOG_LEVEL %q: must be debug, info, warn or error", level))
	}
	if format != "json" && format != "text" {
		errs = append(errs, fmt.Errorf("CRIER_LOG_FORMAT %q: must be text or json", format))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	opts := &slog.HandlerOptions{Level: at}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return slog.New(slog.NewTextHandler(w, opts)), nil
}

// NewRegistry makes a metrics registry with the Go runtime's and the process's
// own figures, and what was built.
func NewRegistry(version string) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "crier_build_info", Help: "1, with the version, the commit and Go's version.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision(), "goversion": runtime.Version()}})
	build.Set(1)
	reg.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// revision is the commit that was built, "" where that is not known.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}

// Preset has a counter's series exist from the start: a rate over one that appears with
// its first event misses that event.
func Preset(vec *prometheus.CounterVec, values ...string) {
	for _, v := range values {
		vec.WithLabelValues(v)
	}
}

// Admin is the operator's listener. It answers /readyz with 200 only while
// every check passes and Ready has been set.
type Admin struct {
	// CommandLine is what /debug/pprof/cmdline shows: the process's own would show
	// secrets that were given as flags. Set before Start.
	CommandLine []string

	addr       string
	reg        *prometheus.Registry
	log        *slog.Logger
	listener   net.Listener
	server     *http.Server
	goroutines *lifecycle.Group

	mu     sync.Mutex // guards the rest
	ready  bool
	checks map[string]func(context.Context) error
}

// NewAdmin makes the listener; Start opens it.
func NewAdmin(addr string, reg *prometheus.Registry, log *slog.Logger) *Admin {
	return &Admin{addr: addr, reg: reg, log: log, checks: make(map[string]func(context.Context) error)}
}

// Check adds something that must work for the process to be ready.
func (a *Admin) Check(name string, fn func(context.Context) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checks[name] = fn
}

// Ready says whether the parts have started and are not being stopped.
func (a *Admin) Ready(ready bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ready = ready
}

// Start listens.
func (a *Admin) Start(ctx context.Context) error {
	var err error
	if a.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", a.addr); err != nil {
		return fmt.Errorf("listening on CRIER_ADMIN_ADDR: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", a.readyz)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", a.cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	var handler http.Handler = mux
	if hostname.Loopback(a.addr) {
		// Beyond loopback it is scraped by whatever name the network has for it.
		handler = hostname.Guard(mux)
	}
	a.server = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}
	a.goroutines = lifecycle.NewGroup(context.WithoutCancel(ctx))
	a.goroutines.Go("admin listener", func(context.Context) error {
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// URL is the listener's base URL.
func (a *Admin) URL() string { return "http://" + a.listener.Addr().String() }

// cmdline answers in the form of package pprof.
func (a *Admin) cmdline(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = io.WriteString(w, strings.Join(a.CommandLine, "\x00"))
}

func (a *Admin) readyz(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	ready := a.ready
	checks := make(map[string]func(context.Context) error, len(a.checks))
	for name, fn := range a.checks {
		checks[name] = fn
	}
	a.mu.Unlock()
	var faults []string
	if !ready {
		faults = append(faults, "starting or stopping")
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	for name, fn := range checks {
		if err := fn(ctx); err != nil {
			faults = append(faults, name+": "+err.Error())
		}
	}
	if len(faults) > 0 {
		http.Error(w, "not ready: "+strings.Join(faults, "; "), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ready\n")
}

// Stop closes the listener.
func (a *Admin) Stop(ctx context.Context) error {
	if a.server == nil {
		return nil
	}
	return errors.Join(a.server.Close(), a.goroutines.Stop(ctx))
}
