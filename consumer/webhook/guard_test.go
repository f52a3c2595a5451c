package webhook_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"crier/consumer/webhook"
	"crier/internal/criertest"
	"crier/internal/destination"
)

// fickle is a resolver whose answers change: the first for each question is one
// address, what follows another.
func fickle(t *testing.T, first, then netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int32
	served := criertest.Go(t, func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Header.Response, m.Header.RecursionAvailable = true, true
			m.Additionals = nil
			if q.Type == dnsmessage.TypeA {
				addr := then
				if asked.Add(1) == 1 {
					addr = first
				}
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: addr.As4()}}}
			}
			if b, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(b, from) // whoever asked may have gone
			}
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		served.Wait()
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// A name that led to an allowed address when it was looked at, and to a private
// one when it was dialled, is not reached.
func TestAResolverThatChangesItsAnswer(t *testing.T) {
	t.Parallel()
	secret := criertest.NewReceiver(t, nil) // on 127.0.0.1, which is not allowed here
	_, port, _ := strings.Cut(strings.TrimPrefix(secret.URL, "http://"), ":")
	resolver := fickle(t, netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("127.0.0.1"))
	guard, err := destination.NewGuard(nil)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := resolver.LookupNetIP(t.Context(), "ip4", "rebind.example.")
	if err != nil || len(addrs) != 1 || guard.CheckAddr(addrs[0]) != nil {
		t.Fatalf("the first answer is %v, %v", addrs, err)
	}
	s := webhook.NewSender(guard, 5*time.Second, 1, resolver)
	defer s.Close()
	target := destination.Target{URL: "http://rebind.example:" + port + "/", Method: "POST", Secrets: [][]byte{[]byte("x")}}
	_, err = s.Send(t.Context(), target, webhook.Message{ID: "m", Data: []byte("{}")})
	if !errors.Is(err, destination.ErrBlocked) {
		t.Errorf("got %v, want that it is blocked", err)
	}
	if n := len(secret.Hooks()); n != 0 {
		t.Errorf("%d requests came to the private address", n)
	}
	// The same, allowed.
	if guard, err = destination.NewGuard([]string{"127.0.0.1"}); err != nil {
		t.Fatal(err)
	}
	open := webhook.NewSender(guard, 5*time.Second, 1, resolver)
	defer open.Close()
	if _, err := open.Send(t.Context(), target, webhook.Message{ID: "m", Data: []byte("{}")}); err != nil || len(secret.Hooks()) != 1 {
		t.Errorf("allowed, it came %d times: %v", len(secret.Hooks()), err)
	}
}

// A destination that was made before its name led elsewhere is not reached
// either: the attempt fails and says why.
func TestABlockedDestinationSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := criertest.NewReceiver(t, nil)
	d, _ := w.destination(hook.URL, nil)
	w.start(webhook.Config{}, "10.0.0.0/8")
	w.push("1")
	if a := w.awaitAttempts(d, 3)[0]; a.Status != 0 || !strings.Contains(a.Error, "leads to a private or special address (127.0.0.1)") {
		t.Errorf("the attempt is %+v", a)
	}
	if len(hook.Hooks()) != 0 {
		t.Error("it was reached")
	}
}

func sender(t *testing.T, timeout time.Duration) *webhook.Sender {
	t.Helper()
	guard, err := destination.NewGuard([]string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	s := webhook.NewSender(guard, timeout, 4, nil)
	t.Cleanup(s.Close)
	return s
}

func post(url string) destination.Target {
	return destination.Target{URL: url, Method: "POST", Secrets: [][]byte{[]byte("secret")}}
}

// No redirect is followed: it is a failure with its status.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	behind := criertest.NewReceiver(t, nil)
	hook := criertest.NewReceiver(t, func(rw http.ResponseWriter, _ criertest.Hook) {
		rw.Header().Set("Location", behind.URL)
		rw.WriteHeader(http.StatusTemporaryRedirect)
	})
	a, err := sender(t, time.Second*5).Send(t.Context(), post(hook.URL), webhook.Message{ID: "m", Data: []byte("{}")})
	if err == nil || a.Status != 307 || len(behind.Hooks()) != 0 {
		t.Errorf("got %+v, %v, and %d requests behind it", a, err, len(behind.Hooks()))
	}
}

// Of an answer without end 64 KiB are read and 1 KiB kept; one that never comes
// ends with the attempt's time.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	hook := criertest.NewReceiver(t, func(rw http.ResponseWriter, h criertest.Hook) {
		switch h.Path {
		case "/endless":
			for {
				if _, err := io.WriteString(rw, strings.Repeat("x", 1000)); err != nil {
					return // cut, which is what the test waits for
				}
			}
		case "/binary":
			_, _ = rw.Write([]byte{0, 0xff, 'a'})
		case "/silent":
			http.NewResponseController(rw).Flush()
			<-t.Context().Done()
		case "/headers":
			rw.Header().Set("X-Long", strings.Repeat("x", 100_000))
		}
	})
	s := sender(t, 2*time.Second)
	a, err := s.Send(t.Context(), post(hook.URL+"/endless"), webhook.Message{ID: "m", Data: []byte("{}")})
	if err != nil || len(a.Body) != 1024 || a.Status != 200 {
		t.Errorf("without end: %d bytes, %d, %v", len(a.Body), a.Status, err)
	}
	if a, err = s.Send(t.Context(), post(hook.URL+"/binary"), webhook.Message{ID: "m", Data: []byte("{}")}); err != nil || a.Body != "\uFFFD\uFFFDa" {
		t.Errorf("what Postgres cannot keep: %q, %v", a.Body, err)
	}
	began := time.Now()
	if _, err = s.Send(t.Context(), post(hook.URL+"/silent"), webhook.Message{ID: "m", Data: []byte("{}")}); err == nil || !strings.Contains(err.Error(), "no whole answer within 2s") || time.Since(began) > 10*time.Second {
		t.Errorf("a silent one: %v after %v", err, time.Since(began))
	}
	if _, err = s.Send(t.Context(), post(hook.URL+"/headers"), webhook.Message{ID: "m", Data: []byte("{}")}); err == nil {
		t.Error("headers of 100 kB were read")
	}
}

// The proxy of the environment is not used: it would dial for us.
func TestNoProxy(t *testing.T) {
	proxy := criertest.NewReceiver(t, nil)
	t.Setenv("HTTP_PROXY", proxy.URL)
	_, _ = sender(t, 500*time.Millisecond).Send(t.Context(), post("http://192.0.2.1/"), webhook.Message{ID: "m", Data: []byte("{}")}) // blocked
	if len(proxy.Hooks()) != 0 {
		t.Error("the proxy was asked")
	}
}
