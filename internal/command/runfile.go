package command

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"crier/internal/telemetry"
)

// runFacts stand as run.json in the data dir while an embedded run lives, for
// scripts and for the other subcommands.
type runFacts struct {
	HTTP     string `json:"http"`
	Admin    string `json:"admin"`
	Mail     string `json:"mail,omitempty"`
	SMTP     string `json:"smtp,omitempty"`
	Kafka    string `json:"kafka"`
	Postgres string `json:"postgres"`
	APIKey   string `json:"api_key"`
	PID      int    `json:"pid"`
}

func (f runFacts) postgresSecret() telemetry.Secret { return telemetry.Secret(f.Postgres) }

const runFileName = "run.json"

func (e *env) runFile() string { return filepath.Join(e.dataDir, runFileName) }

// writeRunFile writes the facts for the owner only, whole or not at all.
func (e *env) writeRunFile(f runFacts) error {
	return writeWhole(e.runFile(), f)
}

func writeWhole(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// readRunFile reads the facts of the embedded run in this data dir.
func (e *env) readRunFile() (runFacts, error) {
	var f runFacts
	b, err := os.ReadFile(e.runFile())
	if errors.Is(err, fs.ErrNotExist) {
		return f, fmt.Errorf("no embedded run was found in %s (set CRIER_DATA_DIR, or start crier)", e.dataDir)
	}
	if err != nil {
		return f, fmt.Errorf("reading the run's facts: %w", err)
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("reading the run's facts: %w", err)
	}
	return f, nil
}

// findKafka falls back to the embedded run's broker.
func (e *env) findKafka(f *kafkaFlags) error {
	if len(f.KafkaBrokers) > 0 {
		return nil
	}
	facts, err := e.readRunFile()
	if err != nil {
		return errors.Join(errors.New("CRIER_KAFKA_BROKERS is not set"), err)
	}
	f.KafkaBrokers = []string{facts.Kafka}
	return nil
}

// secrets are generated once and kept in the data dir.
type secrets struct {
	JWTSecret    string `json:"jwt_secret"`
	APIKey       string `json:"api_key"`
	DemoPassword string `json:"demo_password"`
}

const secretsFileName = "secrets.json"

func (e *env) secretsFile() string { return filepath.Join(e.dataDir, secretsFileName) }

func (e *env) readSecrets() (secrets, error) {
	var s secrets
	b, err := os.ReadFile(e.secretsFile())
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("reading %s: %w", e.secretsFile(), err)
	}
	return s, nil
}

// ensureSecrets reads them, and makes those that are missing.
func (e *env) ensureSecrets() (secrets, error) {
	s, err := e.readSecrets()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, fmt.Errorf("reading the data dir's secrets: %w", err)
	}
	before := s
	if s.JWTSecret == "" {
		s.JWTSecret = rand.Text() + rand.Text()
	}
	if s.APIKey == "" {
		s.APIKey = "crier_" + rand.Text()
	}
	if s.DemoPassword == "" {
		s.DemoPassword = rand.Text()[:12]
	}
	if s == before {
		return s, nil
	}
	return s, writeWhole(e.secretsFile(), s)
}
