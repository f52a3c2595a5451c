package promises

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"crier/internal/criertest"
	"crier/static"
)

const workerPage = `<!doctype html><meta charset="utf-8"><title>a worker</title><script>
  new Worker('/worker.js', { type: 'module' }).onmessage = ({ data }) => { document.title = data; };
</script>`

const workerScript = `import { connect } from '%[1]s/static/crier.js';
connect({ url: '%[1]s', token: () => '%[2]s', transport: '%[3]s', onEvent: ({ type, data }) => { if (type === 'notification') postMessage(data.title); } });`

// crier.js runs where there is no document: in a worker of a page, over both
// transports.
func TestClientModuleInAWorker(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"sse", "ws"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			var script string
			site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/":
					w.Header().Set("Content-Type", "text/html")
					_, _ = w.Write([]byte(workerPage)) // a tab that is closed meanwhile
				case "/worker.js":
					w.Header().Set("Content-Type", "text/javascript")
					_, _ = w.Write([]byte(script))
				default:
					w.WriteHeader(http.StatusNoContent)
				}
			}))
			t.Cleanup(site.Close)
			p := criertest.Start(t, "CRIER_ALLOWED_ORIGINS="+site.URL)
			ann := p.SignUp("ann")
			script = fmt.Sprintf(workerScript, p.Facts().HTTP, ann.Token, transport)
			page := openTab(t, site.URL)
			page.open("/")
			criertest.Eventually(t, patience, "its stream is open", func() bool { return p.Metric("crier_gateway_streams") == 1 })
			send(t, p, ann.ID, "to a worker")
			page.until("the notification in the worker", `document.title === 'to a worker'`)
		})
	}
}

const nodeScript = `import { connect } from './crier.mjs';
const [url, token] = process.argv.slice(2);
const stream = connect({ url, token, topics: ['ticks:X'], onEvent: ({ type, id, data }) => {
  if (type === 'ready') console.log('ready');
  if (type === 'notification') console.log(id, data.title);
  if (type === 'notification' && data.title === 'last') stream.close();
}, onState: ({ name, reason }) => { if (name === 'waiting') console.log('waiting', reason); } });
`

// printed collects what a process prints.
type printed struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// crier.js runs in Node, which has neither pages nor an EventSource: it follows a
// stream, resumes after the gateway was restarted, and ends when it is closed.
func TestClientModuleInNode(t *testing.T) {
	t.Parallel()
	node := criertest.Installed(t, "node")
	p := criertest.NewProgram(t)
	p.Start()
	ann := p.SignUp("ann")
	dir := t.TempDir()
	module, err := static.Files.ReadFile("crier.js")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"crier.mjs": module, "main.mjs": []byte(nodeScript)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out printed
	cmd := exec.CommandContext(t.Context(), node, filepath.Join(dir, "main.mjs"), ann.Base, ann.Token)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	g := criertest.Go(t, func() { ended <- cmd.Wait() })
	t.Cleanup(func() { _ = cmd.Process.Kill(); g.Wait() })
	seen := func(text string) {
		t.Helper()
		criertest.Eventually(t, patience, text+" in:\n"+out.String(), func() bool { return bytes.Contains([]byte(out.String()), []byte(text)) })
	}
	seen("ready")
	send(t, p, ann.ID, "first – ümlaut")
	seen("1 first – ümlaut")
	p.Kill()
	seen("waiting")
	p.Start()
	send(t, p, ann.ID, "second")
	send(t, p, ann.ID, "last")
	seen("3 last")
	if err := <-ended; err != nil {
		t.Errorf("%v: %s", err, out.String())
	}
	if n := bytes.Count([]byte(out.String()), []byte("2 second")); n != 1 {
		t.Errorf("%d times what came meanwhile: %s", n, out.String())
	}
}
