package promises

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"crier/internal/criertest"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/monitor/feed"
)

// patience is how long a page may take for what it does within a second or two
// on an idle machine; a killed program's Postgres recovers within it, too.
const patience = time.Minute

// tab is one page in a real browser. What its console says against it is kept,
// and fails the test at the end.
type tab struct {
	tb    testing.TB
	ctx   context.Context
	base  string
	close func() // of a further tab: closes it

	mu       sync.Mutex // guards what follows
	faults   []string
	away     bool // the server was taken away: that it did not answer is no fault
	forgiven bool
}

// unreachable is how Chromium says that nobody answered.
var unreachable = regexp.MustCompile(`ERR_CONNECTION_(REFUSED|RESET|CLOSED)|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_SOCKET_NOT_CONNECTED`)

// openTab starts a browser of its own with an empty profile; the test's end
// closes it.
func openTab(tb testing.TB, base string) *tab {
	tb.Helper()
	dir := criertest.Dir(tb, "chromium") // its profile, and what it leaves in the folder for temporary files
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(criertest.Chromium(tb)), chromedp.NoSandbox, chromedp.WindowSize(1280, 800),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-gpu", true),
		chromedp.UserDataDir(dir), chromedp.Env("TMPDIR="+dir),
		chromedp.WSURLReadTimeout(patience))
	t := &tab{tb: tb, base: base}
	root, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(root, chromedp.WithListener(t.hear))
	t.ctx = ctx
	tb.Cleanup(func() {
		t.report()
		bye, end := context.WithTimeout(ctx, patience)
		_ = chromedp.Cancel(bye) // what does not close is killed with its allocator
		end()
		cancel()
		stop()
	})
	t.run("opening a browser")
	return t
}

func (t *tab) hear(ev any) {
	switch e := ev.(type) {
	case *runtime.EventExceptionThrown:
		b, _ := json.Marshal(e.ExceptionDetails) // it came as JSON
		t.fault("exception: " + string(b))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeAssert {
			b, _ := json.Marshal(e.Args) // they came as JSON
			t.fault("console: " + string(b))
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			t.fault(fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	}
}

func (t *tab) fault(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.forgiven && (!t.away || !unreachable.MatchString(text)) {
		t.faults = append(t.faults, text)
	}
}

// serverGoes tells that from now on the server may not answer.
func (t *tab) serverGoes() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.away = true
}

// forgive drops what the console has said against the page so far, and will.
func (t *tab) forgive() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults, t.forgiven = nil, true
}

func (t *tab) report() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.faults {
		t.tb.Errorf("the page's console: %s", f)
	}
	if t.tb.Failed() {
		ctx, cancel := context.WithTimeout(t.ctx, 5*time.Second)
		defer cancel()
		if text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`)); err == nil {
			t.tb.Logf("the page shows:\n%s", text)
		}
	}
}

func (t *tab) run(what string, actions ...chromedp.Action[chromedp.Void]) {
	t.tb.Helper()
	ctx := t.ctx
	if len(actions) > 0 { // the first run makes the browser, whose life its context bounds
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(t.ctx, patience, errors.New("the browser took longer than "+patience.String()))
		defer cancel()
	}
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.tb.Fatalf("%s: %v", what, err)
	}
}

// open goes to an address of the page.
func (t *tab) open(path string) {
	t.tb.Helper()
	t.run("opening "+path, chromedp.Navigate(t.base+path))
}

// sel is the selector of a test id.
func sel(id string) string { return `[data-testid="` + id + `"]` }

// again does an action anew when the page has drawn what it is about anew between
// finding it and doing it: nothing was done then. A person would not notice.
func again(action chromedp.Action[chromedp.Void]) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		for {
			done, err := action(ctx, t)
			var gone *cdproto.Error
			if !errors.As(err, &gone) || gone.Code != noSuchNode || !strings.Contains(gone.Message, "node") || ctx.Err() != nil {
				return done, err
			}
		}
	}
}

// noSuchNode is DevTools' code, among other things for a node that is no longer in
// the document.
const noSuchNode = -32000

func (t *tab) click(selector string) {
	t.tb.Helper()
	t.run("clicking "+selector, again(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible)))
}

func (t *tab) write(selector, text string) {
	t.tb.Helper()
	t.run("writing into "+selector, again(chromedp.Steps(chromedp.WaitVisible(chromedp.CSS(selector)), chromedp.Clear(chromedp.CSS(selector)), keys(selector, text))))
}

// keys types into a field. chromedp.SendKeys does so too, but reads the field's
// attributes while the page may change them (chromedp v0.23.0: a data race).
func keys(selector, text string) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(chromedp.Focus(chromedp.CSS(selector)), chromedp.KeyEvent(text))
}

// choose picks an option of a select, as a person does.
func (t *tab) choose(selector, value string) {
	t.tb.Helper()
	t.until(selector+" offers "+value, fmt.Sprintf(`(() => { const s = document.querySelector(%q); if (!s || ![...s.options].some((o) => o.value === %q)) return false; s.value = %q; s.dispatchEvent(new Event('change', {bubbles: true})); return true; })()`, selector, value, value))
}

// module is an expression that imports one of the page's modules, the one that the page
// itself uses.
func module(name string) string {
	return "import(new URL('" + name + "', document.querySelector('script[type=module]').src).href)"
}

// eval evaluates an expression and waits for its promise.
func eval[T any](t *tab, expression string) T {
	t.tb.Helper()
	ctx, cancel := context.WithTimeoutCause(t.ctx, patience, errors.New("the page took longer than "+patience.String()))
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		t.tb.Fatalf("evaluating %s: %v", expression, err)
	}
	return v
}

// until polls until an expression is true.
func (t *tab) until(what, expression string) {
	t.tb.Helper()
	criertest.Eventually(t.tb, patience, what+": "+expression, func() bool {
		ctx, cancel := context.WithTimeout(t.ctx, 5*time.Second)
		defer cancel()
		// While a document is exchanged there is nothing to evaluate in.
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`Boolean(`+expression+`)`))
		return err == nil && ok
	})
}

// untilLive waits until the stream is open over a transport, sse or ws.
func (t *tab) untilLive(transport string) {
	t.tb.Helper()
	t.until("live over "+transport, `document.querySelector('[data-testid=status-chip][data-state=live][data-transport=`+transport+`]')`)
}

// item waits for a notification in the list, and returns its title.
func (t *tab) item(id int) string {
	t.tb.Helper()
	at := fmt.Sprintf(`[data-testid=inbox-item][data-id="%d"]`, id)
	t.until(fmt.Sprintf("notification %d in the list", id), `document.querySelector('`+at+`')`)
	return eval[string](t, `document.querySelector('`+at+` .title').textContent`)
}

// signUp makes an account through the form and ends in its inbox.
func (t *tab) signUp(name string) {
	t.tb.Helper()
	t.open("/signup")
	t.write("#username", name)
	t.write("#password", criertest.Password)
	t.click(sel("signup-submit"))
	t.until("the inbox after signing up", `location.pathname === '/inbox' && document.querySelector('[data-view=inbox][aria-current=page]')`)
}

// goTo follows a link of the page's own rail, without loading the document anew.
func (t *tab) goTo(view string) {
	t.tb.Helper()
	t.click(`[data-view="` + view + `"]`)
	t.until("the view "+view, `document.querySelector('[data-view="`+view+`"][aria-current=page]')`)
}

// setAlert writes an alert's sentence, and returns its id.
func (t *tab) setAlert(condition, target string) int {
	t.tb.Helper()
	t.goTo("alerts")
	t.choose(sel("alert-symbol"), "ETHUSDT")
	t.choose(sel("alert-condition"), condition)
	t.write(sel("alert-target"), target)
	t.click(sel("alert-create"))
	t.until("the new alert is shown", `/^\/alerts\/\d+$/.test(location.pathname)`)
	return eval[int](t, `Number(location.pathname.split('/')[2])`)
}

// shot takes a picture of what is seen.
func (t *tab) shot(path string) {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.tb.Fatalf("taking a picture: %v", err)
	}
	if err := os.WriteFile(path, png, 0o600); err != nil {
		t.tb.Fatal(err)
	}
}

// recording is the path of a recorded file of real ticks.
func recording(tb testing.TB, name string) string {
	tb.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

const ethTrades = "ethusdt-trades-2023-02-02.csv"

// played is one tick of a recording and where it stands in Kafka.
type played struct {
	event.Tick
	Offset int64
}

// produceRecording writes a recording's ticks to `ticks` in order, as a producer
// outside of Crier does.
func produceRecording(tb testing.TB, p *criertest.Program, name string) []played {
	tb.Helper()
	file, err := os.Open(recording(tb, name))
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	var ticks []played
	var recs []kafka.Record
	err = feed.ReadRecording(file, "recorded", func(t event.Tick) error {
		ticks = append(ticks, played{Tick: t})
		recs = append(recs, kafka.Record{Topic: kafka.Ticks, Key: []byte(strings.Clone(t.Symbol)), Value: t.AppendJSON(nil)})
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	k, err := kafka.Open(kafka.Config{Brokers: []string{p.Facts().Kafka}})
	if err != nil {
		tb.Fatal(err)
	}
	defer k.Close()
	if err := k.Produce(context.Background(), recs...); err != nil {
		tb.Fatal(err)
	}
	for i := range recs {
		ticks[i].Offset = recs[i].Offset
	}
	return ticks
}
