package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"crier/internal/telemetry"
)

// fileSuffix is appended to a secret's variable to name a file with its value, as
// mounted secrets of containers are.
const fileSuffix = "_FILE"

// settings resolves what the command line does not set: from the environment, from
// the file that NAME_FILE names where the value is a secret, and from the
// configuration file. kong itself would stop at the first value that it cannot read;
// settings collects all of them.
type settings struct {
	names  map[string]*kong.Flag // every variable of any command
	config string                // the configuration file's path
	file   map[string]fileSetting
	loaded bool
	faults []error
}

// fileSetting is a line of the configuration file.
type fileSetting struct {
	value string
	line  int
}

// newSettings takes the variables over from the parser.
func newSettings(parser *kong.Kong) *settings {
	s := &settings{names: make(map[string]*kong.Flag)}
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		for _, f := range n.Flags {
			for _, name := range f.Envs {
				if known := s.names[name]; known == nil || !isSecret(known) {
					s.names[name] = f
				}
			}
			f.Tag.Envs = nil // f.Envs keeps them
		}
		for _, child := range n.Children {
			walk(child)
		}
	}
	walk(parser.Model.Node)
	return s
}

// helpText appends the variables to a flag's help, as kong does with its own.
func helpText(v *kong.Value) string {
	if v.Flag == nil {
		return v.Help
	}
	shown, tag := *v, *v.Tag
	tag.Envs, shown.Tag = v.Flag.Envs, &tag
	return kong.DefaultHelpValueFormatter(&shown)
}

func isSecret(f *kong.Flag) bool { return f.Target.Type() == reflect.TypeFor[telemetry.Secret]() }

// mask returns arguments in which secrets, and credentials in other addresses, are
// replaced.
func (s *settings) mask(args []string) []string {
	secret := make(map[string]bool)
	for _, f := range s.names {
		secret["--"+f.Name] = secret["--"+f.Name] || isSecret(f)
	}
	shown := make([]string, len(args))
	hide := false // the value of the flag before
	for i, arg := range args {
		name, value, assigned := strings.Cut(arg, "=")
		switch {
		case hide:
			shown[i] = masked
		case assigned && secret[name]:
			shown[i] = name + "=" + masked
		case assigned && strings.HasPrefix(arg, "--"):
			shown[i] = name + "=" + credentials.ReplaceAllString(value, "://"+masked+"@")
		default:
			shown[i] = credentials.ReplaceAllString(arg, "://"+masked+"@")
		}
		hide = !hide && !assigned && secret[name]
	}
	return shown
}

// masked replaces a secret.
const masked = "redacted"

// credentials are the user info of an address.
var credentials = regexp.MustCompile(`://[^/?#\s]*@`)

// Validate is of kong.Resolver.
func (s *settings) Validate(*kong.Application) error { return nil }

// Resolve is of kong.Resolver. It returns only values that kong can read.
func (s *settings) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	s.load(ctx)
	for _, name := range flag.Envs {
		value, from, ok := s.lookup(name, isSecret(flag))
		if !ok {
			continue
		}
		scratch := reflect.New(flag.Target.Type()).Elem()
		if err := flag.Parse(kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: value}), scratch); err != nil {
			s.faults = append(s.faults, fmt.Errorf("%s %q: %s%s", name, value, form(flag, err), from))
			return nil, nil
		}
		return value, nil
	}
	return nil, nil
}

// lookup finds a variable's value, and where it is from if not the environment.
func (s *settings) lookup(name string, secret bool) (value, from string, ok bool) {
	value, ok = os.LookupEnv(name)
	path, named := "", false
	if secret {
		path, named = os.LookupEnv(name + fileSuffix)
	}
	if !ok && !named {
		line, found := s.file[name]
		value, ok = line.value, found
		if found {
			from = fmt.Sprintf(" (%s, line %d)", s.config, line.line)
		}
		if secret {
			var line fileSetting
			line, named = s.file[name+fileSuffix]
			path = line.value
		}
	}
	switch {
	case !named:
		return value, from, ok
	case ok:
		s.faults = append(s.faults, fmt.Errorf("%s: is set beside %s: set one of the two", name+fileSuffix, name))
		return value, from, ok
	}
	b, err := readSmall(path)
	if err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s: must be a file with the value of %s: %w", name+fileSuffix, name, err))
		return "", "", false
	}
	value = strings.TrimRight(string(b), "\r\n")
	if value == "" {
		s.faults = append(s.faults, fmt.Errorf("%s %q: the file is empty, must hold the value of %s", name+fileSuffix, path, name))
		return "", "", false
	}
	return value, "", true
}

// load reads the configuration file once.
func (s *settings) load(ctx *kong.Context) {
	if s.loaded {
		return
	}
	s.loaded = true
	s.config = os.Getenv(configVariable)
	for _, p := range ctx.Path {
		if p.Flag != nil && p.Flag.Name == "config" {
			s.config = fmt.Sprint(ctx.FlagValue(p.Flag))
		}
	}
	if s.config == "" {
		return
	}
	b, err := readSmall(s.config)
	if err != nil {
		s.faults = append(s.faults, fmt.Errorf("%s: must be a file with lines NAME=value: %w", configVariable, err))
		return
	}
	s.file = make(map[string]fileSetting)
	for i, text := range strings.Split(string(b), "\n") {
		if err := s.readLine(i+1, strings.TrimSpace(text)); err != nil {
			s.faults = append(s.faults, fmt.Errorf("%s: %s, line %d: %w", configVariable, s.config, i+1, err))
		}
	}
}

// readSmall reads a file of settings, without the byte order mark that some editors write.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const limit = 1 << 20
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && len(b) > limit {
		err = fmt.Errorf("%s is larger than 1 MiB", path)
	}
	return bytes.TrimPrefix(b, []byte("\ufeff")), err
}

// configVariable names the configuration file; it cannot itself be set there.
const configVariable = "CRIER_CONFIG"

// readLine reads NAME=value. Nothing is quoted or expanded: the value is the rest of
// the line, so that any value can be written. Errors do not show it: it may be a secret.
func (s *settings) readLine(number int, text string) error {
	if text == "" || strings.HasPrefix(text, "#") {
		return nil
	}
	name, value, ok := strings.Cut(text, "=")
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if !ok {
		return errors.New("must be NAME=value, a comment that begins with #, or empty")
	}
	known := s.names[name]
	if base, cut := strings.CutSuffix(name, fileSuffix); known == nil && cut && s.names[base] != nil && isSecret(s.names[base]) {
		known = s.names[base]
	}
	if known == nil || name == configVariable {
		return fmt.Errorf("%s: no such variable can be set here", name)
	}
	if before, twice := s.file[name]; twice {
		return fmt.Errorf("%s: is set in line %d, too", name, before.line)
	}
	s.file[name] = fileSetting{value, number}
	return nil
}

// form states what a value must look like.
func form(flag *kong.Flag, err error) string {
	if flag.Target.Type() == reflect.TypeFor[time.Duration]() {
		return "must be a duration such as 500ms, 30s or 24h"
	}
	switch flag.Target.Kind() {
	case reflect.Bool:
		return "must be true or false"
	case reflect.Int, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("must be a whole number of %d bits at most", flag.Target.Type().Bits())
	case reflect.Uint, reflect.Uint64:
		return "must be a whole number, 0 or more"
	case reflect.Float64:
		return "must be a number such as 2.5"
	}
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(err) {
		err = cause // kong's own text names the flag
	}
	return err.Error()
}
