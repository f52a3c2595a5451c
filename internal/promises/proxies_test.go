package promises

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"crier/internal/criertest"
)

// behindProxy is how one proxy is run with the configuration of docs/proxies.md.
type behindProxy struct {
	program string
	// wrap makes a file of the documented part, for a folder of the test's own.
	wrap func(dir, documented string) string
	args func(dir, file string) []string
}

var behindProxies = []behindProxy{
	{"nginx", func(dir, documented string) string {
		return fmt.Sprintf("pid %[1]s/pid; error_log %[1]s/error.log; daemon off;\nevents {}\nhttp {\naccess_log off; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;\n%[2]s\n}\n", dir, documented)
	}, func(dir, file string) []string { return []string{"-c", file, "-e", dir + "/start.log"} }},
	{"caddy", func(dir, documented string) string {
		return fmt.Sprintf("{\nadmin off\nauto_https disable_redirects\nstorage file_system %s\n}\n%s", dir, documented)
	}, func(_, file string) []string { return []string{"run", "--adapter", "caddyfile", "--config", file} }},
	{"haproxy", func(_, documented string) string { return documented }, func(_, file string) []string { return []string{"-db", "-f", file} }},
}

// Behind each proxy, configured as docs/proxies.md says and with TLS in front, people sign
// in with a Secure cookie, an event stream brings what is sent at once, over HTTP/2, and a
// WebSocket of the page's origin is taken.
func TestBehindProxies(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	brokers := criertest.Broker(t)
	for _, p := range behindProxies {
		t.Run(p.program, func(t *testing.T) {
			t.Parallel()
			program := criertest.Installed(t, p.program)
			_, rest, ok := strings.Cut(string(text), "```"+p.program+"\n")
			documented, _, ok2 := strings.Cut(rest, "```")
			if !ok || !ok2 {
				t.Fatalf("docs/proxies.md has no configuration of %s", p.program)
			}
			upstream, front := criertest.FreeAddr(t), criertest.FreeAddr(t)
			parts := criertest.NewParts(t, brokers, "1", "CRIER_TRUSTED_PROXIES=127.0.0.1", "CRIER_PUBLIC_URL=https://"+front, "CRIER_HTTP_ADDR="+upstream)
			parts.Start("gateway")
			parts.Start("consumer", "CRIER_HTTP_ADDR=")

			dir, err := os.MkdirTemp("", "crier-test-proxy-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			roots := certificate(t, dir)
			_, port, err := net.SplitHostPort(front)
			if err != nil {
				t.Fatal(err)
			}
			documented = strings.NewReplacer(
				"127.0.0.1:8080", upstream, "listen 443", "listen "+front, "127.0.0.1:443", front, "push.example.org {", "https://127.0.0.1:"+port+" {\nbind 127.0.0.1",
				"server_name push.example.org", "server_name 127.0.0.1", "/etc/ssl/", dir+"/").Replace(documented)
			file := filepath.Join(dir, "config")
			if err := os.WriteFile(file, []byte(p.wrap(dir, documented)), 0o600); err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			cmd := exec.Command(program, p.args(dir, file)...)
			cmd.Stdout, cmd.Stderr, cmd.Env = &said, &said, append(os.Environ(), "HOME="+dir)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				_ = cmd.Wait() // by a signal
				if t.Failed() {
					t.Logf("%s said:\n%s", p.program, said.String())
				}
			})
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport}
			criertest.Eventually(t, patience, p.program+" serves", func() bool {
				resp, err := client.Get("https://" + front + "/api/v1/status")
				if err != nil {
					return false
				}
				defer resp.Body.Close()
				return resp.StatusCode == http.StatusOK
			})
			throughProxy(t, client, roots, front)
		})
	}
}

func throughProxy(t *testing.T, client *http.Client, roots *x509.CertPool, front string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ask := func(method, path, body string, cookies []*http.Cookie) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, method, "https://"+front+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://"+front)
		req.Header.Set("Content-Type", "application/json")
		for _, c := range cookies {
			req.AddCookie(c)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	if resp := ask("POST", "/api/v1/signup", `{"username":"ann","password":"correct horse battery"}`, nil); resp.StatusCode != http.StatusCreated {
		t.Fatalf("signing up: %s", resp.Status)
	}
	resp := ask("POST", "/api/v1/login", `{"username":"ann","password":"correct horse battery"}`, nil)
	cookies := resp.Cookies()
	if resp.StatusCode != http.StatusOK || len(cookies) == 0 {
		t.Fatalf("signing in: %s, cookies %v", resp.Status, cookies)
	}
	for _, c := range cookies {
		if !c.Secure {
			t.Errorf("the cookie %s is not Secure", c.Name)
		}
	}
	stream := ask("GET", "/api/v1/stream", "", cookies)
	if stream.StatusCode != http.StatusOK || stream.ProtoMajor != 2 {
		t.Fatalf("the stream: %s over %s", stream.Status, stream.Proto)
	}
	lines := bufio.NewScanner(stream.Body)
	until := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("the stream ended before %q: %v", want, lines.Err())
	}
	until("event: ready")
	if resp := ask("POST", "/api/v1/notifications", `{"user_id":"1","title":"through the proxy"}`, cookies); resp.StatusCode != http.StatusAccepted {
		t.Fatalf("sending: %s", resp.Status)
	}
	until("through the proxy")

	header := http.Header{"Origin": {"https://" + front}}
	for _, c := range cookies {
		header.Add("Cookie", c.Name+"="+c.Value)
	}
	plain := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}} // HTTP/1.1, as browsers open sockets
	defer plain.CloseIdleConnections()
	socket, _, err := websocket.Dial(ctx, "wss://"+front+"/api/v1/ws", &websocket.DialOptions{HTTPClient: plain, HTTPHeader: header})
	if err != nil {
		t.Fatalf("the socket: %v", err)
	}
	if _, _, err := socket.Read(ctx); err != nil {
		t.Errorf("the socket's first message: %v", err)
	}
	if err := socket.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("closing the socket: %v", err)
	}
}

// certificate writes push.crt, push.key and push.pem for 127.0.0.1 into a folder.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	for name, content := range map[string][]byte{"push.crt": cert, "push.key": secret, "push.pem": append(cert, secret...)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	return roots
}
