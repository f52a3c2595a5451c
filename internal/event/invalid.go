package event

import (
	"errors"
	"regexp"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
)

// FieldError says which field of an input broke which rule. Rule is a stable
// word for programs (required, type, length, …), Message a sentence for people.
type FieldError struct {
	Field   string `json:"field"`
	Rule    string `json:"rule"`
	Message string `json:"message"`
}

// Invalid is every fault found in one input; it is returned as an error and
// matched with errors.As.
type Invalid []FieldError

func (v Invalid) Error() string {
	parts := make([]string, len(v))
	for i, f := range v {
		parts[i] = f.Message
		if f.Field != "" {
			parts[i] = f.Field + ": " + f.Message
		}
	}
	return strings.Join(parts, "; ")
}

// maxFaults bounds what is said of one input: a list of a million wrong entries
// must not become an answer larger than the input.
const maxFaults = 100

// Add notes one more fault; beyond a hundred they are not noted.
func (v *Invalid) Add(field, rule, message string) {
	if len(*v) < maxFaults {
		*v = append(*v, FieldError{Field: field, Rule: rule, Message: message})
	}
}

// Err is nil when nothing was found.
func (v Invalid) Err() error {
	if len(v) == 0 {
		return nil
	}
	return v
}

// exact is encoding/json as it is, but that names are compared as RFC 8259 has
// them: encoding/json takes "Title" for "title", and of two such members the
// later one wins, whichever the sender meant.
var exact = jsonv2.JoinOptions(jsonv1.DefaultOptionsV1(), jsonv2.MatchCaseInsensitiveNames(false))

// Unmarshal is json.Unmarshal with case-sensitive names; other spellings of a
// name are unknown members. It is for everything that comes from outside.
func Unmarshal(data []byte, v any) error { return jsonv2.Unmarshal(data, v, exact) }

// plain is encoding/json without its escapes for HTML: records go to JSON
// readers, and a payload's texts stay as they were written.
var plain = jsonv2.JoinOptions(jsonv1.DefaultOptionsV1(), jsontext.EscapeForHTML(false))

// Marshal is json.Marshal that leaves <, > and & alone.
func Marshal(v any) ([]byte, error) { return jsonv2.Marshal(v, plain) }

// DecodeObject reads one JSON object into v (a pointer to a struct whose
// fields check themselves), turning every way in which it can fail into an
// Invalid that names the field. Unknown members are ignored, so that an older
// Crier accepts what a newer producer says.
func DecodeObject(data []byte, v any) error {
	if len(data) == 0 {
		return Invalid{{Field: "", Rule: "json", Message: "must be a JSON object, but is empty"}}
	}
	err := Unmarshal(data, v)
	if err == nil {
		if i := firstByte(data); i != '{' {
			return Invalid{{Field: "", Rule: "json", Message: "must be a JSON object"}}
		}
		return nil
	}
	var inv Invalid
	var typ *jsonv1.UnmarshalTypeError
	var syn *jsonv1.SyntaxError
	switch {
	case errors.As(err, &inv):
		return inv
	case errors.As(err, &typ):
		if typ.Field == "" {
			return Invalid{{Field: "", Rule: "json", Message: "must be a JSON object"}}
		}
		return Invalid{{Field: indexed.ReplaceAllString(typ.Field, "[$1]"), Rule: "type", Message: "must be " + jsonKind(typ.Type.Kind().String()) + ", not " + typ.Value[:min(len(typ.Value), 100)]}}
	case errors.As(err, &syn):
		return Invalid{{Field: "", Rule: "json", Message: "is not valid JSON: " + syn.Error()}}
	}
	return Invalid{{Field: "", Rule: "json", Message: "cannot be read: " + err.Error()}}
}

// indexed is an index within a path of encoding/json's, which Crier writes in brackets.
var indexed = regexp.MustCompile(`\.([0-9]+)\b`)

func firstByte(b []byte) byte {
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c
		}
	}
	return 0
}

func jsonKind(k string) string {
	switch {
	case k == "string":
		return "a string"
	case k == "bool":
		return "true or false"
	case k == "slice", k == "array":
		return "an array"
	case k == "struct", k == "map":
		return "an object"
	case strings.HasPrefix(k, "int"), strings.HasPrefix(k, "uint"):
		return "a whole number"
	case strings.HasPrefix(k, "float"):
		return "a number"
	}
	return "a " + k
}
