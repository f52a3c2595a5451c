package command

import "encoding/json"

// listFlags are those of commands that print a list.
type listFlags struct {
	JSON bool `name:"json" help:"Print a JSON object a line."`
}

// row prints one of its rows: v as JSON, or in the form for people.
func (f listFlags) row(e *env, v any, format string, args ...any) {
	if !f.JSON {
		e.printf(format, args...)
		return
	}
	b, _ := json.Marshal(v) // texts, numbers and times
	e.printf("%s\n", b)
}
