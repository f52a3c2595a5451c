package promises

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"gopkg.in/yaml.v2"

	"crier/internal/criertest"
	"crier/internal/embedded"
)

// service is what docker-compose.yml says of one of ours.
type service struct {
	Command     []string
	Environment map[string]string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Healthcheck struct{ Test []string }
	Build       map[string]string
}

// composed reads the services that are made from this repository.
func composed(t *testing.T, variables map[string]string) map[string]service {
	t.Helper()
	text, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	// As Compose does it: ${NAME:-otherwise} and ${NAME:?complaint}.
	var unset []string
	replaced := regexp.MustCompile(`\$\{([A-Z_]+)(?::([-?])([^}]*))?\}`).ReplaceAllStringFunc(string(text), func(m string) string {
		p := regexp.MustCompile(`\$\{([A-Z_]+)(?::([-?])([^}]*))?\}`).FindStringSubmatch(m)
		if v, ok := variables[p[1]]; ok {
			return v
		}
		if p[2] != "-" {
			unset = append(unset, p[1])
		}
		return p[3]
	})
	if len(unset) > 0 {
		t.Fatalf("docker-compose.yml wants variables that its first comment does not make: %v", unset)
	}
	var file struct{ Services map[string]service }
	if err := yaml.Unmarshal([]byte(replaced), &file); err != nil {
		t.Fatalf("reading docker-compose.yml: %v", err)
	}
	ours := make(map[string]service)
	for name, s := range file.Services {
		if s.Build != nil {
			ours[name] = s
		}
		for other := range s.DependsOn {
			if _, ok := file.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is not there", name, other)
			}
		}
	}
	return ours
}

// A variable of .env has one value in every service, and the file asks for
// nothing that engines in use do not know: Debian 12's (20.10) refuses
// start_interval, which came with 25.0.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	given := map[string]string{"CRIER_JWT_SECRET": strings.Repeat("5e", 32), "CRIER_API_KEY": "k", "CRIER_PUBLIC_URL": "https://push.example.org", "CRIER_POSTGRES_PASSWORD": "pw"}
	for name, s := range composed(t, given) {
		for variable, want := range given {
			if got, ok := s.Environment[variable]; ok && got != want {
				t.Errorf("%s: %s is %q, and %q in .env", name, variable, got, want)
			}
		}
		if s.Environment["CRIER_PUBLIC_URL"] == "" {
			t.Errorf("%s has no CRIER_PUBLIC_URL", name)
		}
	}
	text, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "start_interval") {
		t.Error("start_interval is not known to Docker Engine before 25.0")
	}
}

// here translates a service's variables to this machine: the services' names
// are those of the containers' network.
func here(t *testing.T, s service, names map[string]string) []string {
	t.Helper()
	var env []string
	for name, value := range s.Environment {
		for from, to := range names {
			value = strings.ReplaceAll(value, from, to)
		}
		if strings.HasPrefix(value, "0.0.0.0:") {
			value = criertest.FreeAddr(t)
		}
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}

// exchange is an exchange's stream: once it is told a price, everybody who is
// connected gets it as a trade.
func exchange(t *testing.T, price <-chan string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/stream") {
			http.NotFound(w, r)
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow() //nolint:errcheck // it may be closed already
		ctx := c.CloseRead(r.Context())
		select {
		case p := <-price:
			text := fmt.Sprintf(`{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":%[1]d,"s":"BTCUSDT","a":1,"p":"%[2]s","q":"0.1","T":%[1]d}}`, time.Now().UnixMilli(), p)
			if c.Write(ctx, websocket.MessageText, []byte(text)) == nil {
				<-ctx.Done()
			}
		case <-ctx.Done():
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// What docker-compose.yml runs works: its commands, with its variables, in its
// order, each a process of its own, on a real Kafka and Postgres. Its health
// checks pass; somebody signs up and sets an alert; a price at the exchange
// becomes a notification and a mail; and each part stops when it is told to.
func TestCompose(t *testing.T) {
	brokers := criertest.ApacheKafka(t)
	mails, err := embedded.StartMailCatcher(t.Context(), embedded.MailConfig{SMTPAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mails.Stop(context.Background()) })
	price := make(chan string, 1)
	feed := exchange(t, price)
	services := composed(t, map[string]string{"CRIER_JWT_SECRET": strings.Repeat("5e", 32), "CRIER_API_KEY": "test-api-key"})
	database := "postgres://crier:crier@postgres:5432/crier?sslmode=disable"
	names := map[string]string{"kafka:9092": brokers, database: criertest.Postgres(t), "mailpit:1025": mails.SMTPAddr()}
	// A cluster of this test binary's is shared, and the exchange is ours.
	ours := []string{"CRIER_TOPIC_PREFIX=" + criertest.TopicPrefix(t), "CRIER_BINANCE_WS_URL=" + strings.Replace(feed, "http", "ws", 1), "CRIER_BINANCE_REST_URL=" + feed}

	process := func(name string) *criertest.Program {
		s, ok := services[name]
		if !ok || len(s.Command) == 0 {
			t.Fatalf("docker-compose.yml has no service %s with a command", name)
		}
		return criertest.NewProcess(t, s.Command, append(here(t, s, names), ours...)...)
	}
	for _, name := range []string{"migrate", "topics"} {
		for range 2 { // a second time it changes nothing
			if out, err := process(name).Beside(services[name].Command...); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, out)
			}
		}
	}
	parts := make(map[string]*criertest.Program)
	for name, s := range services {
		if name == "migrate" || name == "topics" {
			continue
		}
		if s.DependsOn["migrate"].Condition != "service_completed_successfully" || s.DependsOn["topics"].Condition != "service_completed_successfully" {
			t.Errorf("%s does not wait for migrate and topics", name)
		}
		p := process(name)
		p.Launch()
		parts[name] = p
	}
	for _, name := range []string{"gateway", "monitor", "consumer"} {
		p := parts[name]
		if p == nil {
			t.Fatalf("docker-compose.yml does not run the %s", name)
		}
		p.Await()
		test := services[name].Healthcheck.Test
		if len(test) < 3 || test[0] != "CMD" || test[1] != "/crier" {
			t.Fatalf("%s has no health check by crier itself: %v", name, test)
		}
		// A monitor loads its alerts before it is ready.
		criertest.Eventually(t, patience, "the health of the "+name, func() bool {
			out, err := p.Beside(test[2:]...)
			return err == nil && strings.TrimSpace(out) == "ready"
		})
	}

	gateway := parts["gateway"]
	ann := gateway.SignUp("ann")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	if err := ann.Do(ctx, "POST", "/alerts", map[string]string{"condition": "above", "target": "70000", "email": "ann@example.org"}, nil); err != nil {
		t.Fatal(err)
	}
	link := strings.Replace(confirmLink(t, mails.URL(), "ann@example.org"), "http://127.0.0.1:8080", gateway.Facts().HTTP, 1)
	if status, text := visit(t, http.MethodPost, link, nil); status != http.StatusOK {
		t.Fatalf("confirming: %d %s", status, text)
	}
	price <- "70000.50"
	if got := ann.Follow(t, "0", 1); got[0].Title != "BTCUSDT rose to 70000.50" {
		t.Errorf("got %+v", got)
	}
	var text string
	criertest.Eventually(t, patience, "a mail", func() bool {
		text = gatewayMail(t, mails.URL())
		return text != ""
	})
	if !strings.Contains(text, "http://127.0.0.1:8080/inbox/1") {
		t.Errorf("the mail's link does not lead to the page that is published: %s", text)
	}
	if err := gateway.Service().Do(ctx, "POST", "/notifications", map[string]string{"user_id": ann.ID, "title": "by the API key"}, nil); err != nil {
		t.Fatal(err)
	}
	ann.Follow(t, "1", 1)
	for _, name := range []string{"gateway", "monitor", "consumer"} {
		if took := parts[name].Stop(); took > 10*time.Second {
			t.Errorf("stopping the %s took %v", name, took)
		}
	}
}

// gatewayMail is the text of the first mail that was caught, "" while there is
// none.
func gatewayMail(t *testing.T, catcher string) string {
	t.Helper()
	var page struct{ Messages []caught }
	getJSON(t, catcher+"/api/v1/messages", &page)
	page.Messages = slices.DeleteFunc(page.Messages, func(m caught) bool { return m.Subject == confirmSubject })
	if len(page.Messages) == 0 {
		return ""
	}
	var whole struct{ Text string }
	getJSON(t, catcher+"/api/v1/message/"+page.Messages[0].ID, &whole)
	return whole.Text
}
