package promises

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crier/internal/client"
	"crier/internal/criertest"
)

// What a first run makes and a second one finds again: run.json for the owner
// only while it runs, the same key and login, mail that can be read.
func TestSecondStartFindsAll(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	before := p.Facts()
	info, err := os.Stat(filepath.Join(p.Dir, "run.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("run.json: %v, %v", info.Mode(), err)
	}
	for name, address := range map[string]string{"http": before.HTTP, "admin": before.Admin, "mail": before.Mail} {
		if u, err := url.Parse(address); err != nil || u.Scheme != "http" || u.Port() == "" || u.Port() == "0" {
			t.Errorf("%s is %q", name, address)
		}
	}
	if !strings.HasPrefix(before.Postgres, "postgres://") || strings.Count(before.Kafka, ":") != 1 || before.APIKey == "" {
		t.Errorf("facts %+v", before)
	}
	if log := p.Log(); strings.Contains(log, before.APIKey) || !strings.Contains(log, "api_key in "+filepath.Join(p.Dir, "secrets.json")) || !strings.Contains(log, before.HTTP+"/swagger/") || !strings.Contains(log, "demo / ") {
		t.Errorf("the start says %s", log)
	}
	p.Stop()
	if _, err := os.Stat(filepath.Join(p.Dir, "run.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("run.json stays after the end: %v", err)
	}
	p.Start()
	if after := p.Facts(); after.APIKey != before.APIKey {
		t.Error("the API key changed")
	}
}

// A second run over a live one says which port is taken, and by what variable
// to change it.
func TestSecondRunNamesTheTakenPort(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	f := p.Facts()
	taken := map[string]string{"CRIER_HTTP_ADDR": strings.TrimPrefix(f.HTTP, "http://"), "CRIER_KAFKA_ADDR": f.Kafka, "CRIER_ADMIN_ADDR": strings.TrimPrefix(f.Admin, "http://"),
		"CRIER_MAIL_ADDR": strings.TrimPrefix(f.Mail, "http://")}
	if u, err := url.Parse(f.Postgres); err == nil {
		taken["CRIER_POSTGRES_ADDR"] = u.Host
	}
	for variable, address := range taken {
		second := criertest.NewProgram(t, variable+"="+address)
		second.Launch()
		if code := second.ExitCode(); code != 1 {
			t.Errorf("%s: exit code %d", variable, code)
		}
		if log := second.Log(); !strings.Contains(log, address) || !strings.Contains(log, "set "+variable) {
			t.Errorf("%s: it says %s", variable, log)
		}
	}
	// Over the same data dir, with other ports.
	same := criertest.NewProgram(t, "CRIER_DATA_DIR="+p.Dir)
	same.Launch()
	if code := same.ExitCode(); code != 1 || !strings.Contains(same.Log(), p.Dir) {
		t.Errorf("over the same data dir: exit code %d: %s", code, same.Log())
	}
}

// Ctrl-C tells every stream when to come back, finishes what is in flight, and
// exits with 0 within 10 s.
func TestStopSaysBye(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t)
	u := p.SignUp("ann")
	bye := make(chan client.Event, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ready := make(chan struct{})
	ended := make(chan error, 1)
	follow := criertest.Go(t, func() {
		ended <- u.Stream(ctx, client.StreamOptions{}, func(e client.Event) {
			switch e.Type {
			case "ready":
				close(ready)
			case "bye":
				bye <- e
			}
		})
	})
	<-ready
	if took := p.Stop(); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	follow.Wait()
	var said struct {
		Reason  string `json:"reason"`
		RetryMS *int   `json:"retry_ms"`
	}
	select {
	case e := <-bye:
		if err := json.Unmarshal(e.Data, &said); err != nil || said.Reason != "draining" || said.RetryMS == nil {
			t.Errorf("bye says %s", e.Data)
		}
	default:
		t.Errorf("no bye; the stream ended with %v", <-ended)
	}
}

// As an ordinary user, where the clone is that user's.
func TestAsOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		p := criertest.Start(t)
		p.SignUp("ann")
		return
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatalf("looking up an ordinary user: %v", err)
	}
	p := criertest.NewProgram(t)
	p.RunAs(nobody)
	p.Start()
	if u := p.SignUp("ann"); u.ID == "" {
		t.Error("no user")
	}
	p.Kill()
	p.Start()
}

// On a machine without Postgres's programs they are downloaded.
func TestWithoutLocalPostgres(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t, "CRIER_POSTGRES_BIN_DIR=none")
	u := p.SignUp("ann")
	if err := p.Service().Do(t.Context(), "POST", "/notifications", map[string]any{"user_id": u.ID, "title": "hi"}, nil); err != nil {
		t.Fatal(err)
	}
	u.Follow(t, "0", 1)
}

// Where the data dir lies in a folder that only root may enter, root's run keeps
// its Postgres elsewhere, and finds it again.
func TestBelowAClosedFolder(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Log("only root has such a folder: an ordinary user's Postgres runs as the user")
		return
	}
	closed, err := os.MkdirTemp("/root", "crier-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(closed) })
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	p := criertest.NewProgram(t, "CRIER_DATA_DIR="+filepath.Join(closed, "data"))
	p.Dir = filepath.Join(closed, "data")
	p.Start()
	u := p.SignUp("ann")
	p.Kill()
	p.Start()
	if again := p.SignUp("ann"); again.ID != u.ID {
		t.Errorf("user %s became %s", u.ID, again.ID)
	}
}

// Logging out ends that session's streams and tokens, here on a gateway of many,
// within a second; {"all": true} those of all sessions.
func TestLogoutEverywhere(t *testing.T) {
	t.Parallel()
	brokers := criertest.Broker(t)
	p := criertest.NewParts(t, brokers, "1")
	a, b := p.Start("gateway"), p.Start("gateway")
	first, second := a.SignUp("ann"), a.SignUp("ann")
	ends := make(map[*criertest.User]<-chan time.Time)
	for _, u := range []*criertest.User{first, second} {
		ends[u] = streamEnd(t, at(u, b))
	}
	if err := first.Do(t.Context(), "POST", "/logout", nil, nil); err != nil {
		t.Fatal(err)
	}
	requireSoon(t, ends[first], "the first session's stream ends")
	var refusal *client.Error
	if err := at(first, b).Do(t.Context(), "GET", "/profile", nil, nil); !errors.As(err, &refusal) || refusal.Status != http.StatusUnauthorized {
		t.Errorf("the token of an ended session: %v", err)
	}
	if err := second.Do(t.Context(), "GET", "/profile", nil, nil); err != nil {
		t.Errorf("the other session: %v", err)
	}
	third := a.SignUp("ann")
	ends[third] = streamEnd(t, at(third, b))
	if err := second.Do(t.Context(), "POST", "/logout", map[string]bool{"all": true}, nil); err != nil {
		t.Fatal(err)
	}
	requireSoon(t, ends[second], "the second session's stream ends")
	requireSoon(t, ends[third], "the third session's stream ends")

	// An account that is closed at one gateway is unknown to the other, too.
	bob := a.SignUp("bob")
	send := func() error {
		return b.Service().Do(t.Context(), "POST", "/notifications", map[string]string{"user_id": bob.ID, "title": "x"}, nil)
	}
	if err := send(); err != nil {
		t.Fatal(err)
	}
	ended := streamEnd(t, at(bob, b))
	if err := bob.Do(t.Context(), "DELETE", "/profile", nil, nil); err != nil {
		t.Fatal(err)
	}
	requireSoon(t, ended, "the stream of a closed account ends")
	if err := send(); !errors.As(err, &refusal) || refusal.Status != http.StatusNotFound {
		t.Errorf("sending to a closed account: %v", err)
	}
}

// streamEnd opens a stream and tells when it has ended.
func streamEnd(t *testing.T, u *criertest.User) <-chan time.Time {
	t.Helper()
	ended, ready := make(chan time.Time, 1), make(chan struct{})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	g := criertest.Go(t, func() {
		_ = u.Stream(ctx, client.StreamOptions{}, func(e client.Event) {
			if e.Type == "ready" {
				close(ready)
			}
		}) // how it ends is the test's business, not why
		ended <- time.Now()
	})
	t.Cleanup(func() { cancel(); g.Wait() })
	<-ready
	return ended
}

func requireSoon(t *testing.T, ended <-chan time.Time, what string) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(time.Second):
		t.Errorf("not within a second: %s", what)
	}
}

// A stream ends when its token does, after an event that says so.
func TestStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	p := criertest.Start(t, "CRIER_ACCESS_TTL=10s")
	u := p.SignUp("ann")
	said := ""
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	began := time.Now()
	err := u.Stream(ctx, client.StreamOptions{}, func(e client.Event) {
		if e.Type == "bye" {
			said = string(e.Data)
		}
	})
	if took := time.Since(began); err != nil || took > time.Minute || !strings.Contains(said, "token_expired") {
		t.Errorf("after %v: %v, bye %s", took, err, said)
	}
}

// A ticket opens one stream, on whichever gateway.
func TestTicketIsGoodOnce(t *testing.T) {
	t.Parallel()
	brokers := criertest.Broker(t)
	p := criertest.NewParts(t, brokers, "1")
	a, b := p.Start("gateway"), p.Start("gateway")
	u := a.SignUp("ann")
	var ticket struct {
		Ticket    string
		ExpiresIn int `json:"expires_in"`
	}
	if err := u.Do(t.Context(), "POST", "/stream/ticket", nil, &ticket); err != nil || ticket.ExpiresIn != 30 {
		t.Fatalf("%+v, %v", ticket, err)
	}
	for i, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.Facts().HTTP+"/api/v1/stream?ticket="+url.QueryEscape(ticket.Ticket), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("use %d: status %d, want %d", i+1, resp.StatusCode, want)
		}
		if want == http.StatusOK {
			if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || !strings.HasPrefix(line, "retry:") {
				t.Errorf("the stream begins with %q, %v", line, err)
			}
		}
		_ = resp.Body.Close()
		cancel()
	}
}
