package criertest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"crier/internal/client"
	"crier/internal/command"
)

// childVariable marks a process that is the program under test and not the
// tests; failVariable says where it kills itself, and stopVariable where it stops
// itself until it is continued: POINT or POINT:N, at the Nth time that it comes there.
const (
	childVariable = "CRIER_TEST_CHILD"
	failVariable  = "CRIER_TEST_FAIL_AT"
	stopVariable  = "CRIER_TEST_STOP_AT"
)

// beProgram runs the whole program instead of the tests where this process is a
// child made by Start. The fail points exist in test binaries only.
func beProgram() {
	if os.Getenv(childVariable) == "" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), command.Signals()...)
	code := command.Main(ctx, command.Program{Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, FailFunc: failPoints()})
	stop()
	os.Exit(code)
}

func failPoints() func(string) {
	kill, stop := signalAt(failVariable, syscall.SIGKILL), signalAt(stopVariable, syscall.SIGSTOP)
	return func(point string) {
		kill(point)
		stop(point)
	}
}

// signalAt has the process send itself a signal at the point that a variable names.
func signalAt(variable string, sig syscall.Signal) func(point string) {
	name, count, _ := strings.Cut(os.Getenv(variable), ":")
	left := atomic.Int64{}
	left.Store(1)
	if n, err := strconv.ParseInt(count, 10, 64); err == nil {
		left.Store(n)
	}
	return func(point string) {
		if name == "" || point != name || left.Add(-1) != 0 {
			return
		}
		_ = syscall.Kill(os.Getpid(), sig)
		if sig == syscall.SIGKILL {
			select {} // nothing runs after it
		}
		pause(100 * time.Millisecond) // a stop reaches this thread a moment later
	}
}

// Facts are what an embedded run says of itself in run.json.
type Facts struct {
	HTTP     string `json:"http"`
	Admin    string `json:"admin"`
	Mail     string `json:"mail"`
	SMTP     string `json:"smtp"`
	Kafka    string `json:"kafka"`
	Postgres string `json:"postgres"`
	APIKey   string `json:"api_key"`
}

// Program is the whole program as a child process, on free ports of loopback
// and a data dir of its own. It is stopped at the end of the test.
type Program struct {
	tb   testing.TB
	Dir  string
	args []string
	env  []string
	// admin and http are base URLs of a part that runs alone; a run of everything
	// says its own in run.json.
	admin string
	http  string

	mu   sync.Mutex // guards what follows
	cmd  *exec.Cmd
	done chan error
	exit int
	log  *lockedBuffer

	exe        string              // "": this test binary
	credential *syscall.Credential // nil: this user's
}

// lockedBuffer is what the child has printed.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// NewProgram makes a program that is not yet running. env are variables such as
// CRIER_FEEDS=none, added to free ports and a fresh data dir; feeds are none
// unless they say otherwise.
func NewProgram(tb testing.TB, env ...string) *Program {
	tb.Helper()
	dir := Dir(tb, "program") // removed after what the cleanup below waits for
	p := &Program{tb: tb, Dir: dir, log: &lockedBuffer{}, env: append([]string{
		childVariable + "=1", "CRIER_DATA_DIR=" + dir, "CRIER_FEEDS=none", "CRIER_HTTP_ADDR=" + FreeAddr(tb), "CRIER_ADMIN_ADDR=127.0.0.1:0",
		"CRIER_KAFKA_ADDR=" + FreeAddr(tb), "CRIER_POSTGRES_ADDR=127.0.0.1:0", "CRIER_MAIL_ADDR=127.0.0.1:0", "CRIER_MAIL_SMTP_ADDR=127.0.0.1:0",
	}, env...)}
	tb.Cleanup(func() {
		p.Kill()
		p.removeData()
		if tb.Failed() {
			tb.Logf("the program said:\n%s", tail(p.log.String(), 8000))
		}
	})
	return p
}

// testBinary is this very process's program.
func testBinary(tb testing.TB) string {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatalf("criertest: finding the test binary: %v", err)
	}
	return exe
}

// environ is the tests' environment without what would configure the program.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "CRIER_") && !strings.HasPrefix(v, "CRIER_TEST_") && !strings.HasPrefix(v, "CRIER_POSTGRES_BIN_DIR=")
	})
}

// removeData waits until the orphaned Postgres of a killed program is gone: it
// is told by the kernel, and needs a moment.
func (p *Program) removeData() {
	deadline := time.Now().Add(time.Minute)
	for {
		err := os.RemoveAll(p.Dir)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			p.tb.Errorf("criertest: removing the data dir: %v", err)
			return
		}
		pause(50 * time.Millisecond)
	}
}

// pause waits without the test noticing whom for; conditions are polled.
func pause(d time.Duration) { <-time.After(d) }

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// Start makes a program of the whole, and waits until it is ready. Its database
// is one of this test binary's own cluster, which is there already: a cluster for
// each program, as NewProgram's have it, is most of what such a test costs.
func Start(tb testing.TB, env ...string) *Program {
	tb.Helper()
	database := "CRIER_DATABASE_URL=" + Postgres(tb) // dropped after the program has ended
	p := NewProgram(tb, append([]string{database}, env...)...)
	p.Start()
	return p
}

// Start starts it, with further variables for this life only, and waits until
// it is ready.
func (p *Program) Start(env ...string) {
	p.tb.Helper()
	p.Launch(env...)
	p.Await()
}

// Launch starts it and does not wait.
func (p *Program) Launch(env ...string) {
	p.tb.Helper()
	_ = os.Remove(filepath.Join(p.Dir, "run.json")) // left by a life that was killed
	exe := p.exe
	if exe == "" {
		exe = testBinary(p.tb)
	}
	cmd := exec.Command(exe, p.args...)
	cmd.Env = append(append(environ(), p.env...), env...)
	cmd.Dir = p.Dir
	if _, err := os.Stat(p.Dir); err != nil {
		cmd.Dir = "" // the program makes it
	}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	// In a group of its own: a Ctrl-C at the tests is not one at the program.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: p.credential}
	if err := cmd.Start(); err != nil {
		p.tb.Fatalf("criertest: starting the program: %v", err)
	}
	done := make(chan error, 1)
	p.mu.Lock()
	p.cmd, p.done = cmd, done
	p.mu.Unlock()
	var waiting sync.WaitGroup
	waiting.Go(func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.exit = cmd.ProcessState.ExitCode()
		p.mu.Unlock()
		done <- err
		close(done)
	})
}

// Await waits until the program is ready; the test fails when it ends first.
func (p *Program) Await() {
	p.tb.Helper()
	deadline := time.Now().Add(90 * time.Second)
	for time.Now().Before(deadline) {
		select {
		case err := <-p.done:
			p.tb.Fatalf("criertest: the program ended at its start: %v\n%s", err, tail(p.log.String(), 4000))
		default:
		}
		if f, err := p.facts(); err == nil && isReady(f.Admin) {
			return
		}
		pause(20 * time.Millisecond)
	}
	p.tb.Fatalf("criertest: the program was not ready in time\n%s", tail(p.log.String(), 4000))
}

func (p *Program) facts() (Facts, error) {
	var f Facts
	if p.admin != "" {
		return Facts{HTTP: p.http, Admin: p.admin, APIKey: apiKey}, nil
	}
	b, err := os.ReadFile(filepath.Join(p.Dir, "run.json"))
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(b, &f)
}

// Facts are what the running program says of itself.
func (p *Program) Facts() Facts {
	p.tb.Helper()
	f, err := p.facts()
	if err != nil {
		p.tb.Fatalf("criertest: reading run.json: %v", err)
	}
	return f
}

// Log is what the program has printed in all its lives.
func (p *Program) Log() string { return p.log.String() }

// Kill kills it with signal 9 and waits until it is gone. It may be gone already.
func (p *Program) Kill() {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.cmd = nil
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill() // it may be gone
	<-done
	http.DefaultClient.CloseIdleConnections()
}

// Died waits until the program has killed itself at its fail point.
func (p *Program) Died() {
	p.tb.Helper()
	select {
	case <-p.done:
		p.mu.Lock()
		p.cmd = nil
		p.mu.Unlock()
	case <-time.After(60 * time.Second):
		p.tb.Fatal("criertest: the program did not come to its fail point")
	}
}

// Halted waits until the program has stopped itself at its point.
func (p *Program) Halted() {
	p.tb.Helper()
	stat := fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid)
	Eventually(p.tb, 60*time.Second, "the program has stopped itself", func() bool {
		b, err := os.ReadFile(stat)
		if err != nil {
			p.tb.Fatalf("criertest: looking at the program: %v", err)
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		return strings.HasPrefix(rest, "T")
	})
}

// Continue has it go on where it stopped itself.
func (p *Program) Continue() {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		p.tb.Fatalf("criertest: continuing the program: %v", err)
	}
}

// Stop interrupts it, as Ctrl-C does, and returns how long it took. The test
// fails unless it exits with 0.
func (p *Program) Stop() time.Duration {
	p.tb.Helper()
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.cmd = nil
	p.mu.Unlock()
	began := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		p.tb.Fatalf("criertest: interrupting the program: %v", err)
	}
	select {
	case err := <-done:
		if err != nil {
			p.tb.Fatalf("criertest: the program ended with %v\n%s", err, tail(p.log.String(), 4000))
		}
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		<-done
		p.tb.Fatalf("criertest: the program did not stop\n%s", tail(p.log.String(), 4000))
	}
	http.DefaultClient.CloseIdleConnections()
	return time.Since(began)
}

// Run runs a subcommand beside it, in the same data dir, and returns what it
// printed and its error.
func (p *Program) Run(ctx context.Context, stdin string, args ...string) (stdout, stderr string, err error) {
	p.tb.Helper()
	cmd := exec.CommandContext(ctx, testBinary(p.tb), args...)
	cmd.Env = append(environ(), childVariable+"=1", "CRIER_DATA_DIR="+p.Dir)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// User is somebody who has signed up and in.
type User struct {
	*client.Client
	ID       string
	Username string
	Refresh  string
}

// Service is a client with the API key.
func (p *Program) Service() *client.Client {
	f := p.Facts()
	return &client.Client{Base: f.HTTP, APIKey: f.APIKey}
}

// Password is every test user's.
const Password = "correct horse battery"

// SignUp makes a user and signs in.
func (p *Program) SignUp(name string) *User {
	p.tb.Helper()
	return p.SignUpWith(name, "")
}

// SignUpWith is SignUp with an email address.
func (p *Program) SignUpWith(name, email string) *User {
	p.tb.Helper()
	c := &client.Client{Base: p.Facts().HTTP}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := c.Do(ctx, "POST", "/signup", map[string]string{"username": name, "password": Password, "email": email}, nil)
	var refusal *client.Error
	if errors.As(err, &refusal) && refusal.Code == "username_taken" {
		err = nil
	}
	if err != nil {
		p.tb.Fatalf("criertest: signing up: %v", err)
	}
	var in struct {
		Access  string `json:"access"`
		Refresh string `json:"refresh"`
		User    struct {
			ID string `json:"id"`
		} `json:"user"`
	}
	if err := c.Do(ctx, "POST", "/login", map[string]string{"username": name, "password": Password}, &in); err != nil {
		p.tb.Fatalf("criertest: signing in: %v", err)
	}
	c.Token = in.Access
	return &User{Client: c, ID: in.User.ID, Username: name, Refresh: in.Refresh}
}

// Eventually polls until fn says true, or fails the test with what.
func Eventually(tb testing.TB, within time.Duration, what string, fn func() bool) {
	tb.Helper()
	deadline := time.Now().Add(within)
	for !fn() {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %v: %s", within, what)
		}
		pause(10 * time.Millisecond)
	}
}

// Lines splits what a subcommand printed.
func Lines(s string) []string {
	var out []string
	for sc := bufio.NewScanner(strings.NewReader(s)); sc.Scan(); {
		out = append(out, sc.Text())
	}
	return out
}

// Metric reads one metric of the program, the sum over its labels.
func (p *Program) Metric(name string) float64 {
	p.tb.Helper()
	resp, err := http.Get(p.Facts().Admin + "/metrics")
	if err != nil {
		p.tb.Fatalf("criertest: reading metrics: %v", err)
	}
	defer resp.Body.Close()
	sum := 0.0
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		line := sc.Text()
		if !strings.HasPrefix(line, name+" ") && !strings.HasPrefix(line, name+"{") {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v); err == nil {
			sum += v
		}
	}
	return sum
}

// Pause lets a moment pass between two looks at something that is awaited.
func Pause() { pause(10 * time.Millisecond) }

// ExitCode waits until the program has ended by itself.
func (p *Program) ExitCode() int {
	p.tb.Helper()
	p.Died()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}

// RunAs has the program's next lives run as another user, who owns its data
// dir and a copy of the test binary.
func (p *Program) RunAs(u *user.User) {
	p.tb.Helper()
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		p.tb.Fatalf("criertest: reading the user's ids: %v", err)
	}
	b, err := os.ReadFile(testBinary(p.tb))
	if err != nil {
		p.tb.Fatalf("criertest: reading the test binary: %v", err)
	}
	dir, remove, err := makeDir(os.TempDir(), "binary") // nothing can be executed in Dir's
	if err != nil {
		p.tb.Fatalf("criertest: %v", err)
	}
	p.tb.Cleanup(func() {
		p.Kill()
		if err := remove(); err != nil {
			p.tb.Errorf("criertest: removing the copy of the test binary: %v", err)
		}
	})
	p.exe = filepath.Join(dir, "crier-test")
	if err := errors.Join(os.WriteFile(p.exe, b, 0o755), os.Chown(p.Dir, int(uid), int(gid))); err != nil {
		p.tb.Fatalf("criertest: copying the test binary: %v", err)
	}
	p.credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), NoSetGroups: true}
	p.env = append(p.env, "HOME="+p.Dir)
}

// Go runs fn beside the test, which waits for it at its end.
func Go(tb testing.TB, fn func()) *sync.WaitGroup {
	tb.Helper()
	g := &sync.WaitGroup{}
	g.Go(fn)
	tb.Cleanup(g.Wait)
	return g
}

// Again runs one test of this binary in a process of its own, with further
// variables: for what a process does once.
func Again(tb testing.TB, test string, env ...string) (string, error) {
	tb.Helper()
	cmd := exec.Command(testBinary(tb), "-test.run", "^"+test+"$", "-test.timeout", "60s")
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
