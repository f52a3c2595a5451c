package command

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// run runs the program to its end and returns what it wrote.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(t.Context(), Program{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs})
	return code, out.String(), errs.String()
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Everything that is wrong in a configuration is reported at once, with variable, value
// and form, before the part waits for Postgres or Kafka.
func TestConfigurationFaults(t *testing.T) {
	for _, tt := range []struct {
		name, command string
		env           map[string]string
		want          []string
	}{
		{"gateway", "gateway", map[string]string{
			"CRIER_LOG_LEVEL": "loud", "CRIER_LOG_FORMAT": "xml", "CRIER_ALERT_LIMIT": "many", "CRIER_ACCESS_TTL": "soon", "CRIER_REFRESH_TTL": "1s", "CRIER_KAFKA_TLS": "perhaps",
			"CRIER_HTTP_ADDR": "8080", "CRIER_TRUSTED_PROXIES": "proxy.example", "CRIER_WEBHOOK_ALLOW": "10.0.0.0/40", "CRIER_KAFKA_SASL": "GSSAPI", "CRIER_KAFKA_USER": "u",
			"CRIER_KAFKA_BROKERS": "kafka:port", "CRIER_DATABASE_URL": "postgres://u:hunter2@h:port/d", "CRIER_JWT_SECRET": "short", "CRIER_ADMIN_ADDR": "localhost",
			"CRIER_JWT_LEEWAY": "1h", "CRIER_USERS": "all", "CRIER_START_TIMEOUT": "0s", "CRIER_TLS_CERT": "/none", "CRIER_TLS_KEY": "/none", "CRIER_DATABASE_MAX_CONNS": "0",
		}, []string{
			`CRIER_LOG_LEVEL "loud": must be debug, info, warn or error`, `CRIER_LOG_FORMAT "xml": must be text or json`, `CRIER_ALERT_LIMIT "many": must be a whole number`,
			`CRIER_ACCESS_TTL "soon": must be a duration such as`, `CRIER_REFRESH_TTL "1s": must be at least CRIER_ACCESS_TTL`, `CRIER_KAFKA_TLS "perhaps": must be true or false`,
			`CRIER_HTTP_ADDR "8080": must be host:port`, `CRIER_TRUSTED_PROXIES "proxy.example": must be an address or a range`, `CRIER_WEBHOOK_ALLOW "10.0.0.0/40": must be an address or a range`,
			`CRIER_KAFKA_SASL "GSSAPI": must be PLAIN`, `CRIER_KAFKA_BROKERS "kafka:port": must be host:port`, `CRIER_DATABASE_URL: must be such as postgres://`, `CRIER_JWT_SECRET: must be at least 32 bytes`,
			`CRIER_ADMIN_ADDR "localhost": must be host:port`, `CRIER_JWT_LEEWAY "1h0m0s": must be 0s to 10m`, `CRIER_USERS "all": must be own or external`, `CRIER_START_TIMEOUT "0s": must be more`,
			`CRIER_TLS_CERT "/none": must be a certificate`, `CRIER_DATABASE_MAX_CONNS "0": must be at least 1`,
		}},
		{"what would not be used", "gateway", map[string]string{
			"CRIER_KAFKA_BROKERS": "k:9092", "CRIER_KAFKA_USER": "u", "CRIER_KAFKA_PASSWORD": "hunter2", "CRIER_KAFKA_CA_FILE": "/ca.pem", "CRIER_TLS_CERT": "/cert.pem", "CRIER_JWT_SECRET": "a-secret-for-tests-of-32-bytes-and-more",
		}, []string{
			`CRIER_KAFKA_SASL: is required with CRIER_KAFKA_USER and CRIER_KAFKA_PASSWORD`, `CRIER_KAFKA_TLS: must be true with CRIER_KAFKA_CA_FILE`, `CRIER_TLS_CERT "/cert.pem": must be set together with CRIER_TLS_KEY`,
		}},
		{"monitor", "monitor", map[string]string{"CRIER_FEEDS": "nasdaq", "CRIER_SIMULATED_SEED": "-1"}, []string{
			`CRIER_FEEDS "nasdaq": must be binance`, `CRIER_SIMULATED_SEED "-1": must be a whole number, 0 or more`, `CRIER_KAFKA_BROKERS: is required`, `CRIER_DATABASE_URL: is required`,
		}},
		{"consumer", "consumer", map[string]string{"CRIER_SMTP_URL": "http://u:hunter2@mail", "CRIER_MAIL_FROM": "nobody", "CRIER_MAIL_RATE": "fast", "CRIER_MAIL_TEMPLATES": "/none", "CRIER_CONSUMER_BATCH": "0x", "CRIER_WEBHOOK_RETENTION": "1h", "CRIER_KAFKA_SASL": "PLAIN", "CRIER_KAFKA_BROKERS": "k:9092"}, []string{
			`CRIER_SMTP_URL: must begin with`, `CRIER_MAIL_FROM "nobody": must be an address`, `CRIER_MAIL_RATE "fast": must be a number`, `CRIER_CONSUMER_BATCH "0x": must be a whole number`,
			`CRIER_WEBHOOK_RETENTION "1h0m0s": must be at least 48h`, `CRIER_KAFKA_USER: is required with CRIER_KAFKA_SASL`, `CRIER_PUBLIC_URL: is required with CRIER_SMTP_URL`,
		}},
		{"values out of range, gateway", "gateway", map[string]string{
			"CRIER_DATABASE_URL": "postgres://u@h/d", "CRIER_JWT_SECRET": "a-secret-for-tests-of-32-bytes-and-more", "CRIER_KAFKA_BROKERS": "k:0", "CRIER_KAFKA_SASL": "FOO", "CRIER_HTTP_ADDR": "127.0.0.1:99999",
			"CRIER_STREAM_OUTBOX": "99999999999999", "CRIER_ALERT_LIMIT": "0", "CRIER_SIGNUP_LIMIT": "-1", "CRIER_PUBLIC_URL": "http://h/p?x", "CRIER_ALLOWED_HOSTS": "a.example:80,http://b.example,c d", "CRIER_ALLOWED_ORIGINS": "https://a.example,https://b.example/?x",
			"CRIER_SYMBOLS": "A,a b,,A", "CRIER_API_KEY": "hunter2 hunter2",
		}, []string{
			`CRIER_KAFKA_BROKERS "k:0": must be host:port`, `CRIER_KAFKA_SASL "FOO": must be PLAIN`, `CRIER_KAFKA_USER: is required with CRIER_KAFKA_SASL`, `CRIER_HTTP_ADDR "127.0.0.1:99999": must be host:port`,
			`CRIER_STREAM_OUTBOX "99999999999999": must be 1 to 1073741824`, `CRIER_ALERT_LIMIT "0": must be 1 or more`, `CRIER_SIGNUP_LIMIT "-1": must be 0 to 1000000000`, `CRIER_PUBLIC_URL "http://h/p?x": must be an http or https URL`,
			`CRIER_ALLOWED_HOSTS "http://b.example": must be a name such as`, `CRIER_ALLOWED_HOSTS "c d": must be a name such as`, `CRIER_ALLOWED_ORIGINS "https://b.example/?x": must be scheme://host[:port] or *`,
			`CRIER_SYMBOLS "a b": must be 1 to 64 of letters, digits`, `CRIER_SYMBOLS "": is required`, `CRIER_SYMBOLS "A": is named twice`, `CRIER_API_KEY: must be visible ASCII characters without spaces`,
		}},
		{"values out of range, monitor", "monitor", map[string]string{"CRIER_DATABASE_URL": "postgres://u@h/d", "CRIER_KAFKA_BROKERS": "k:9092", "CRIER_SYMBOLS": "a b",
			"CRIER_FEEDS": "none,simulated,simulated", "CRIER_BINANCE_WS_URL": "foo", "CRIER_KRAKEN_REST_URL": "ws://x", "CRIER_COINBASE_WS_URL": "https://x"}, []string{
			`CRIER_FEEDS "simulated": is named twice`, `CRIER_SYMBOLS "a b": must be`,
			`CRIER_BINANCE_WS_URL "foo": must be a ws or wss URL`, `CRIER_KRAKEN_REST_URL "ws://x": must be an http or https URL`, `CRIER_COINBASE_WS_URL "https://x": must be a ws or wss URL`,
		}},
		{"values out of range, consumer", "consumer", map[string]string{"CRIER_DATABASE_URL": "postgres://u@h/d", "CRIER_KAFKA_BROKERS": "k:9092", "CRIER_MAIL_RATE": "NaN", "CRIER_CONSUMER_BATCH": "0", "CRIER_WEBHOOK_RETENTION": "0s", "CRIER_SMTP_URL": "mail", "CRIER_PUBLIC_URL": "http://h/?x"}, []string{
			`CRIER_MAIL_RATE "NaN": must be 0 or more`, `CRIER_CONSUMER_BATCH "0": must be 1 to 10000`, `CRIER_WEBHOOK_RETENTION "0s": must be at least 48h`, `CRIER_SMTP_URL: must begin with smtp://, smtps:// or smtp+plain://`, `CRIER_PUBLIC_URL "http://h/?x": must be an http or https URL`,
		}},
		{"topics", "topics", map[string]string{"CRIER_TOPIC_PARTITIONS": "0", "CRIER_TOPIC_REPLICAS": "0", "CRIER_KAFKA_BROKERS": "k:x", "CRIER_TICKS_RETENTION": "1h,2h"}, []string{
			`CRIER_TOPIC_PARTITIONS "0": must be at least 1`, `CRIER_TOPIC_REPLICAS "0": must be at least 1, or -1`, `CRIER_KAFKA_BROKERS "k:x": must be host:port`, `CRIER_TICKS_RETENTION "1h,2h": must be a duration such as 24h, a size`,
		}},
		{"send", "send", map[string]string{"CRIER_KAFKA_BROKERS": "k:x", "CRIER_DATABASE_URL": "foo"}, []string{`CRIER_KAFKA_BROKERS "k:x": must be host:port`, `CRIER_DATABASE_URL: must be such as`}},
		{"import", "import", map[string]string{"CRIER_KAFKA_BROKERS": "k:x", "CRIER_DATABASE_URL": "foo", "CRIER_USERS": "all"}, []string{`CRIER_KAFKA_BROKERS "k:x": must be host:port`, `CRIER_DATABASE_URL: must be such as`, `CRIER_USERS "all": must be own`}},
		{"run", "run", map[string]string{"CRIER_POSTGRES_ADDR": "5433", "CRIER_TOPIC_PARTITIONS": "0", "CRIER_TICKS_RETENTION": "a day", "CRIER_TOPIC_PREFIX": "a b"}, []string{
			`CRIER_POSTGRES_ADDR "5433": must be host:port`, `CRIER_TOPIC_PARTITIONS "0": must be at least 1`, `CRIER_TICKS_RETENTION "a day": must be a duration such as 24h, a size`, `CRIER_TOPIC_PREFIX "a b": must be letters`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			t.Chdir(t.TempDir())
			code, _, stderr := run(t, tt.command)
			if code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
			for _, want := range tt.want {
				if n := strings.Count(stderr, "crier: "+want); n != 1 {
					t.Errorf("%d times, want once: %s", n, want)
				}
			}
			if strings.Contains(stderr, "hunter2") {
				t.Error("a password is shown")
			}
			for line := range strings.Lines(stderr) {
				if !strings.HasPrefix(line, "crier: CRIER_") {
					t.Errorf("names no variable: %s", line)
				}
			}
			if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
				t.Errorf("something was started: %v %v", left, err)
			}
			if t.Failed() {
				t.Log(stderr)
			}
		})
	}
}

// A secret may be in a file, any variable in the configuration file; the environment
// and flags come first.
func TestSettingsFromFiles(t *testing.T) {
	secret := writeFile(t, "secret", strings.Repeat("s", 32)+"\n")
	token := regexp.MustCompile(`^\S+\.\S+\.\S+\n`)
	config := writeFile(t, "crier.conf", "# tokens\n\n CRIER_JWT_SECRET_FILE = "+secret+"\nCRIER_JWT_ISSUER=a=b\nCRIER_LOG_LEVEL=loud\n")
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		want string // in the error; "": a token is printed
	}{
		{"secret in a file", map[string]string{"CRIER_JWT_SECRET_FILE": secret}, nil, ""},
		{"value and file", map[string]string{"CRIER_JWT_SECRET_FILE": secret, "CRIER_JWT_SECRET": "x"}, nil, "CRIER_JWT_SECRET_FILE: is set beside CRIER_JWT_SECRET"},
		{"file is missing", map[string]string{"CRIER_JWT_SECRET_FILE": "/none"}, nil, "CRIER_JWT_SECRET_FILE: must be a file with the value of CRIER_JWT_SECRET: open /none"},
		{"file is empty", map[string]string{"CRIER_JWT_SECRET_FILE": writeFile(t, "empty", "\n")}, nil, "the file is empty"},
		{"configuration file", map[string]string{"CRIER_LOG_LEVEL": "info"}, []string{"--config", config}, ""},
		{"by its variable", map[string]string{"CRIER_CONFIG": config}, []string{"--log-level=info"}, ""},
		{"a bad value in it", map[string]string{"CRIER_CONFIG": writeFile(t, "bad", "CRIER_DATA_DIR=x\nCRIER_JWT_LEEWAY=1h\nCRIER_ALERT_LIMIT=x\n")}, []string{"gateway"}, `CRIER_ALERT_LIMIT "x": must be a whole number of 64 bits at most (`},
		{"file without end", map[string]string{"CRIER_JWT_SECRET_FILE": "/dev/zero"}, nil, "CRIER_JWT_SECRET_FILE: must be a file with the value of CRIER_JWT_SECRET: /dev/zero is larger than 1 MiB"},
		{"configuration without end", map[string]string{"CRIER_CONFIG": "/dev/zero"}, nil, "CRIER_CONFIG: must be a file with lines NAME=value: /dev/zero is larger than 1 MiB"},
		{"byte order mark", map[string]string{"CRIER_CONFIG": writeFile(t, "bom", "\ufeffCRIER_JWT_SECRET="+strings.Repeat("s", 32)+"\r\n")}, nil, ""},
		{"no such file", nil, []string{"--config=/none"}, "CRIER_CONFIG: must be a file with lines NAME=value: open /none"},
		{"unknown name", nil, []string{"--config", writeFile(t, "c", "CRIER_HTTP_ADRR=:80\n")}, "line 1: CRIER_HTTP_ADRR: no such variable"},
		{"file of what is no secret", nil, []string{"--config", writeFile(t, "c", "CRIER_HTTP_ADDR_FILE=/x\n")}, "CRIER_HTTP_ADDR_FILE: no such variable"},
		{"no assignment", nil, []string{"--config", writeFile(t, "c", "hunter2\n")}, "line 1: must be NAME=value"},
		{"set twice", nil, []string{"--config", writeFile(t, "c", "CRIER_USERS=own\nCRIER_USERS=own\n")}, "line 2: CRIER_USERS: is set in line 1, too"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, value := range tt.env {
				t.Setenv(name, value)
			}
			t.Chdir(t.TempDir())
			args := append([]string{"token", "--user=u1"}, tt.args...)
			if len(tt.args) > 0 && tt.args[0] == "gateway" {
				args = tt.args
			}
			code, stdout, stderr := run(t, args...)
			if tt.want == "" && (code != 0 || !token.MatchString(stdout)) || tt.want != "" && (code != 2 || !strings.Contains(stderr, tt.want)) {
				t.Errorf("exit code %d, %s%s", code, stdout, stderr)
			}
			if strings.Contains(stderr, "hunter2") {
				t.Error("what may be a secret is shown")
			}
		})
	}
}

// With CRIER_LOG_FORMAT=json every line is JSON: faults of the configuration and the
// command line, failures of commands, and what libraries print by the log package.
func TestJSONLines(t *testing.T) {
	checkLines := func(t *testing.T, text, want string) {
		t.Helper()
		for line := range strings.Lines(text) {
			var entry struct{ Level, Msg string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Level == "" || entry.Msg == "" {
				t.Errorf("not a JSON log line: %s", line)
			}
		}
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in: %s", want, text)
		}
	}
	t.Setenv("CRIER_LOG_FORMAT", "json")
	t.Chdir(t.TempDir())
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"gateway"}, "CRIER_KAFKA_BROKERS: is required"},
		{[]string{"gateway", "--nonsense"}, "unknown flag --nonsense"},
		{[]string{"token", "--user=u1"}, "CRIER_JWT_SECRET is not set"},
	} {
		_, _, stderr := run(t, tt.args...)
		checkLines(t, stderr, tt.want)
	}
	for _, args := range [][]string{{"--log-format", "json", "--nonsense"}, {"--log-format=json", "--nonsense"}} {
		t.Setenv("CRIER_LOG_FORMAT", "text")
		_, _, stderr := run(t, args...)
		checkLines(t, stderr, "unknown flag")
	}
	t.Setenv("CRIER_LOG_FORMAT", "json")

	file, err := os.Create("stderr")
	if err != nil {
		t.Fatal(err)
	}
	stderr, fallback, flags := os.Stderr, slog.Default(), log.Flags()
	defer func() {
		os.Stderr = stderr
		slog.SetDefault(fallback)
		log.SetOutput(stderr)
		log.SetFlags(flags)
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}()
	os.Stderr = file
	if code := Main(t.Context(), Program{Args: []string{"version"}, Stdout: io.Discard, Stderr: os.Stderr}); code != 0 {
		t.Errorf("exit code %d", code)
	}
	log.Print("from a library")
	b, err := os.ReadFile("stderr")
	if err != nil {
		t.Fatal(err)
	}
	checkLines(t, string(b), "from a library")
}

// The version and the help are found under each of their usual names.
func TestVersionAndHelp(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, args := range [][]string{{"--version"}, {"version"}} {
		if code, stdout, stderr := run(t, args...); code != 0 || stdout != "crier "+Version+"\n" || stderr != "" {
			t.Errorf("%v: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
	for _, args := range [][]string{{}, {"send"}, {"keys"}} {
		_, want, _ := run(t, append(args, "--help")...)
		if code, stdout, stderr := run(t, append([]string{"help"}, args...)...); code != 0 || want == "" || stdout != want || stderr != "" {
			t.Errorf("help %v: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
	if code, _, stderr := run(t, "help", "nonsense"); code != 2 || !strings.Contains(stderr, "nonsense") {
		t.Errorf("help nonsense: exit code %d, %q", code, stderr)
	}
}
