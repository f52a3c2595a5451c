package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"crier/internal/alert"
	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/problem"
)

// maxImport is how many alerts one request may make; `crier alerts import` sends
// many requests.
const maxImport = 1000

// alertColumns are the columns of the CSV form, in the order in which they are
// exported. An import takes any of them in any order; what says where an alert
// stands (id, firings and so on) is passed over.
var alertColumns = []string{"id", "symbol", "condition", "target", "percent", "window", "low", "high", "confirm", "hysteresis", "source", "repeat", "cooldown",
	"max_firings", "expires_at", "snoozed_until", "email", "note", "message", "state", "firings", "created_at"}

// ImportLine is what became of one line of an import.
type ImportLine struct {
	Line   int                `json:"line"`
	ID     int64              `json:"id,omitempty"`
	Errors []event.FieldError `json:"errors,omitempty"`
}

// ImportAnswer is the answer to an import.
type ImportAnswer struct {
	Created int          `json:"created"`
	Refused int          `json:"refused"`
	Results []ImportLine `json:"results"`
}

// ImportAlerts makes many alerts at once. Lines that break a rule are named and
// the others made, all of them or, where there is no room, none.
//
//	@Summary	Make many alerts: CSV with a header, or JSON lines
//	@Tags		alerts
//	@Accept		text/csv,application/x-ndjson
//	@Param		body	body		string	true	"up to 1,000 lines with the members of POST /alerts"
//	@Success	200		{object}	ImportAnswer
//	@Failure	400,409	{object}	Problem
//	@Security	bearer
//	@Router		/alerts/import [post]
func (a *API) ImportAlerts(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return problem.New(problem.TooLarge, "The body must be at most 1 MiB: send it in parts.")
		}
		return problem.Wrap(problem.InvalidJSON, "The body could not be read.", err)
	}
	lines, err := importLines(r.Header.Get("Content-Type"), body)
	if err != nil {
		return err
	}
	if len(lines) > maxImport {
		return problem.New(problem.TooLarge, fmt.Sprintf("A request takes up to %d lines: send it in parts.", maxImport))
	}
	now := time.Now()
	uid := Who(r).UserID
	var answer ImportAnswer
	var list []alert.Alert
	var of []int // indexes into Results
	places, claims := make(map[string]event.Place), make(map[string]error)
	for _, l := range lines {
		out := ImportLine{Line: l.number}
		made, err := l.alert(uid, now)
		if err == nil {
			err = a.claimForImport(r.Context(), uid, made.Email, claims)
		}
		var invalid event.Invalid
		switch {
		case errors.As(err, &invalid):
			out.Errors = invalid
			answer.Refused++
		case err != nil:
			return err
		default:
			if made.Place, err = a.endOf(r, places, made.Symbol); err != nil {
				return err
			}
			list, of = append(list, made), append(of, len(answer.Results))
		}
		answer.Results = append(answer.Results, out)
	}
	if len(list) > 0 {
		made, err := a.Alerts.CreateMany(r.Context(), uid, list, now)
		if errors.Is(err, alert.ErrLimit) {
			return tooManyAlerts()
		}
		if err != nil {
			return err
		}
		for i := range made {
			answer.Results[of[i]].ID = made[i].ID
		}
	}
	answer.Created, answer.Results = len(list), notNil(answer.Results)
	return encode(w, http.StatusOK, answer)
}

// claimForImport is claimAddress, once for each address of an import; a line whose
// address is one too many is refused alone.
func (a *API) claimForImport(ctx context.Context, uid event.UserID, address string, known map[string]error) error {
	err, seen := known[address]
	if !seen {
		if err = a.claimAddress(ctx, uid, address); problem.Of(err).Code == problem.LimitReached {
			err = event.Invalid{unconfirmed}
		}
		known[address] = err
	}
	return err
}

func (a *API) endOf(r *http.Request, known map[string]event.Place, symbol string) (event.Place, error) {
	if p, ok := known[symbol]; ok {
		return p, nil
	}
	p, err := a.Kafka.EndOf(r.Context(), kafka.Ticks, symbol)
	if err != nil {
		return p, problem.Wrap(problem.Unavailable, "Kafka did not say where the ticks end.", err)
	}
	known[symbol] = p
	return p, nil
}

// importLine is one alert of an import, as JSON.
type importLine struct {
	number int
	json   []byte
	fault  *event.FieldError
}

func (l *importLine) alert(uid event.UserID, now time.Time) (alert.Alert, error) {
	if l.fault != nil {
		return alert.Alert{}, event.Invalid{*l.fault}
	}
	var in AlertRequest
	if err := event.DecodeObject(l.json, &in); err != nil {
		return alert.Alert{}, err
	}
	// What an export says of where the alert stood is no wish, but for a pause.
	paused := in.State != nil && *in.State == string(alert.Paused)
	in.State, in.UserID = nil, ""
	made, err := in.alert(uid, now)
	if paused {
		made.State = alert.Paused
	}
	return made, err
}

// importLines cuts a body into lines, told by its type.
func importLines(contentType string, body []byte) ([]importLine, error) {
	kind, _, _ := mime.ParseMediaType(contentType)
	switch kind {
	case "text/csv":
		return csvLines(body)
	case "application/x-ndjson", "application/jsonl", "application/json":
		var out []importLine
		lines := bufio.NewScanner(bytes.NewReader(body))
		lines.Buffer(nil, maxBody+1)
		for n := 1; lines.Scan(); n++ {
			if len(bytes.TrimSpace(lines.Bytes())) > 0 {
				out = append(out, importLine{number: n, json: bytes.Clone(lines.Bytes())})
			}
		}
		return out, nil
	}
	return nil, event.Invalid{{Field: "", Rule: "type", Message: "Content-Type must be text/csv or application/x-ndjson"}}
}

func csvLines(body []byte) ([]importLine, error) {
	rows := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff"))))
	rows.FieldsPerRecord = -1
	header, err := rows.Read()
	if err != nil {
		return nil, event.Invalid{{Field: "", Rule: "csv", Message: "must begin with a line that names its columns"}}
	}
	for i, name := range header {
		header[i] = strings.ToLower(strings.TrimSpace(name))
		if !slices.Contains(alertColumns, header[i]) {
			return nil, event.Invalid{{Field: header[i], Rule: "column", Message: "is no column of alerts: " + strings.Join(alertColumns, ", ")}}
		}
	}
	var out []importLine
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, event.Invalid{{Field: "", Rule: "csv", Message: err.Error()}}
		}
		line, _ := rows.FieldPos(0)
		l := importLine{number: line}
		if len(row) != len(header) {
			l.fault = &event.FieldError{Rule: "csv", Message: fmt.Sprintf("has %d columns, the first line %d", len(row), len(header))}
		} else {
			l.json = rowJSON(header, row)
		}
		out = append(out, l)
	}
}

// rowJSON is a CSV row as the JSON of POST /alerts: empty columns are absent.
func rowJSON(header, row []string) []byte {
	members := make(map[string]any)
	for i, name := range header {
		switch {
		case row[i] == "" || name == "id" || name == "firings" || name == "created_at":
		case name == "max_firings":
			members[name] = json.RawMessage(row[i])
			if !json.Valid([]byte(row[i])) {
				members[name] = row[i]
			}
		default:
			members[name] = cellText(row[i])
		}
	}
	b, _ := json.Marshal(members) // texts
	return b
}

// ExportAlerts gives all of one's alerts as a file.
//
//	@Summary	All of one's alerts: CSV or JSON lines
//	@Tags		alerts
//	@Produce	text/csv,application/x-ndjson
//	@Param		format	query	string	false	"csv (default) or jsonl"	Enums(csv, jsonl)
//	@Success	200		{string}	string
//	@Security	bearer
//	@Router		/alerts/export [get]
func (a *API) ExportAlerts(w http.ResponseWriter, r *http.Request) error {
	format := r.URL.Query().Get("format")
	if format == "" {
		format = "csv"
	}
	if format != "csv" && format != "jsonl" {
		return event.Invalid{{Field: "format", Rule: "enum", Message: "must be csv or jsonl"}}
	}
	h := w.Header()
	h.Set("Content-Type", map[string]string{"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}[format])
	h.Set("Content-Disposition", `attachment; filename="alerts.`+format+`"`)
	out := csv.NewWriter(w)
	if format == "csv" {
		_ = out.Write(alertColumns)
	}
	f := alert.Filter{Limit: maxPage}
	for {
		list, _, more, err := a.Alerts.List(r.Context(), Who(r).UserID, f, time.Now())
		if err != nil {
			return err
		}
		for i := range list {
			v := list[i].View()
			if format == "csv" {
				_ = out.Write(viewRow(&v))
			} else if b, err := json.Marshal(v); err == nil {
				_, _ = w.Write(append(b, '\n')) // a reader that has gone is no fault of ours
			}
		}
		if out.Flush(); !more {
			return nil
		}
		f.Before = list[len(list)-1].ID
	}
}

func viewRow(v *alert.View) []string {
	at := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	firings := ""
	if v.MaxFirings > 0 {
		firings = fmt.Sprint(v.MaxFirings)
	}
	row := []string{fmt.Sprint(v.ID), v.Symbol, string(v.Condition), v.Target, v.Percent, v.Window, v.Low, v.High, v.Confirm, v.Hysteresis, v.Source, v.Repeat, v.Cooldown,
		firings, at(v.ExpiresAt), at(v.Snoozed), v.Email, v.Note, v.Message, string(v.State), fmt.Sprint(v.Firings), at(&v.CreatedAt)}
	for i := range row {
		row[i] = cell(row[i])
	}
	return row
}

// isFormula says whether a spreadsheet may run a cell; the full-width signs are
// read as the others where they are written (OWASP, CSV injection).
func isFormula(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return s != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", r)
}

// cell is a text as a CSV cell that spreadsheets show and do not run: with an
// apostrophe before it, which spreadsheets take for "this is text". A text that
// begins so already gets another one, so that cellText finds each again.
func cell(s string) string {
	if isFormula(strings.TrimLeft(s, "'")) {
		return "'" + s
	}
	return s
}

// cellText is what cell has written.
func cellText(s string) string {
	if text, ok := strings.CutPrefix(s, "'"); ok && isFormula(strings.TrimLeft(text, "'")) {
		return text
	}
	return s
}

// BulkRequest is one change of many alerts.
type BulkRequest struct {
	IDs    []int64         `json:"ids"`
	Action string          `json:"action" enums:"pause,resume,snooze,delete"`
	For    json.RawMessage `json:"for" swaggertype:"string" example:"1h"`
	Until  json.RawMessage `json:"until" swaggertype:"string"`
}

// BulkAnswer says what became of each.
type BulkAnswer struct {
	Changed int          `json:"changed"`
	Refused int          `json:"refused"`
	Results []ImportLine `json:"results"`
}

// BulkAlerts changes many alerts in one way.
//
//	@Summary	Pause, resume, snooze or delete many alerts
//	@Tags		alerts
//	@Param		body	body		BulkRequest	true	"up to 1,000 ids, and what to do"
//	@Success	200		{object}	BulkAnswer
//	@Failure	400		{object}	Problem
//	@Security	bearer
//	@Router		/alerts/bulk [post]
func (a *API) BulkAlerts(w http.ResponseWriter, r *http.Request) error {
	var in BulkRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	var c alert.Change
	paused, created := alert.Paused, alert.Created
	switch in.Action {
	case "pause":
		c.State = &paused
	case "resume":
		c.State, c.ClearSnooze = &created, true
	case "snooze":
		until, err := (&SnoozeRequest{in.For, in.Until}).until(time.Now())
		if err != nil {
			return err
		}
		c.Snoozed = until
	case "delete":
	default:
		return event.Invalid{{Field: "action", Rule: "enum", Message: "must be pause, resume, snooze or delete"}}
	}
	if len(in.IDs) == 0 || len(in.IDs) > maxImport {
		return event.Invalid{{Field: "ids", Rule: "range", Message: fmt.Sprintf("must be 1 to %d ids", maxImport)}}
	}
	answer := BulkAnswer{Results: make([]ImportLine, 0, len(in.IDs))}
	for i, id := range in.IDs {
		var err error
		if in.Action == "delete" {
			err = a.Alerts.Delete(r.Context(), Who(r).UserID, id)
		} else {
			_, err = a.changeAlert(r.Context(), Who(r).UserID, id, c)
		}
		line := ImportLine{Line: i + 1, ID: id}
		p := problem.Of(alertProblem(err))
		switch {
		case err == nil:
			answer.Changed++
		case problem.Catalogue[p.Code].Status >= http.StatusInternalServerError:
			return err
		default:
			answer.Refused++
			line.Errors = []event.FieldError{{Rule: string(p.Code), Message: p.Detail}}
		}
		answer.Results = append(answer.Results, line)
	}
	return encode(w, http.StatusOK, answer)
}
