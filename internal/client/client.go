// Package client speaks Crier's public interfaces, HTTP and SSE, as any program
// may: the command line, the load generator and the tests use it. It imports no
// server package. The event stream is read by r3labs/sse, a client that knows
// nothing of Crier.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"

	"crier/internal/event"
	"crier/internal/lifecycle"
)

// Client talks to one gateway, with a token, an API key, or neither. It is safe
// for concurrent use once made.
type Client struct {
	Base   string // http://host:port
	Token  string
	APIKey string
	HTTP   *http.Client // nil: a default one
}

// Error is a refusal: problem+json, or whatever else came with a status of 400
// and above.
type Error struct {
	Status int                `json:"status"`
	Code   string             `json:"code"`
	Title  string             `json:"title"`
	Detail string             `json:"detail"`
	Errors []event.FieldError `json:"errors"`
}

func (e *Error) Error() string {
	text := fmt.Sprintf("%d %s: %s", e.Status, e.Code, e.Title)
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 16 << 20

// Do sends a request under /api/v1 and decodes its answer into out (nil: not).
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding a request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.Base, "/")+"/api/v1"+path, body)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	c.authorise(req)
	resp, err := c.http().Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	if resp.StatusCode >= 400 {
		refusal := &Error{}
		if json.Unmarshal(answer, refusal) != nil || refusal.Code == "" {
			refusal.Detail = string(answer[:min(len(answer), 200)])
		}
		refusal.Status = resp.StatusCode
		return fmt.Errorf("%s %s: %w", method, path, refusal)
	}
	if out == nil || len(answer) == 0 {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	return nil
}

// Raw sends a body of any type under /api/v1 and returns the answer as it came.
func (c *Client) Raw(ctx context.Context, method, path, contentType string, body io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.Base, "/")+"/api/v1"+path, body)
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	c.authorise(req)
	resp, err := c.http().Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	if resp.StatusCode >= 400 {
		refusal := &Error{}
		if json.Unmarshal(answer, refusal) != nil || refusal.Code == "" {
			refusal.Detail = string(answer[:min(len(answer), 200)])
		}
		refusal.Status = resp.StatusCode
		return nil, fmt.Errorf("%s %s: %w", method, path, refusal)
	}
	return answer, nil
}

func (c *Client) authorise(req *http.Request) {
	if c.APIKey != "" {
		req.Header.Set("X-API-Key", c.APIKey)
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
}

func (c *Client) http() *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	return http.DefaultClient
}

// Event is one event of a stream.
type Event struct {
	Type string          `json:"event"`
	ID   string          `json:"id,omitempty"`
	Data json.RawMessage `json:"data"`
}

// StreamOptions say what to follow.
type StreamOptions struct {
	Since     string   // a cursor; "": from now on
	Topics    []string // such as news, room:friends, ticks:SYMBOL
	Join      []string // rooms to follow and be seen in
	Reconnect bool     // come back after an interruption, with the last event id
	OnLost    func(error)
}

// Stream follows the user's stream and calls fn with each event, until ctx ends
// or, without Reconnect, the stream does.
func (c *Client) Stream(ctx context.Context, o StreamOptions, fn func(Event)) error {
	q := url.Values{}
	if len(o.Topics) > 0 {
		q.Set("topics", strings.Join(o.Topics, ","))
	}
	if len(o.Join) > 0 {
		q.Set("join", strings.Join(o.Join, ","))
	}
	if o.Since != "" {
		q.Set("since", o.Since)
	}
	s := sse.NewClient(strings.TrimRight(c.Base, "/")+"/api/v1/stream?"+q.Encode(), sse.ClientMaxBufferSize(1<<20))
	s.Connection = &http.Client{}
	if c.HTTP != nil {
		s.Connection = c.HTTP
	}
	s.Headers["Authorization"] = "Bearer " + c.Token
	if c.Token == "" {
		delete(s.Headers, "Authorization")
	}
	s.ResponseValidator = validate
	s.ReconnectStrategy = &backoff.StopBackOff{} // the library stops at a clean end; this loop does not
	wait := lifecycle.Backoff{Min: 200 * time.Millisecond, Max: 5 * time.Second}
	for {
		err := s.SubscribeRawWithContext(ctx, func(m *sse.Event) {
			if len(m.Event) > 0 {
				wait.Reset()
				fn(Event{Type: string(m.Event), ID: string(m.ID), Data: bytes.Clone(m.Data)})
			}
		})
		var refusal *Error
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &refusal) && refusal.Status < 500 && refusal.Status != http.StatusTooManyRequests:
			return fmt.Errorf("following the stream: %w", err)
		case !o.Reconnect && err != nil:
			return fmt.Errorf("following the stream: %w", err)
		case !o.Reconnect:
			return nil
		}
		if o.OnLost != nil {
			o.OnLost(err)
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// validate turns a refusal into an *Error instead of the library's own.
func validate(_ *sse.Client, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16)) // what there is of it
	refusal := &Error{}
	_ = json.Unmarshal(b, refusal) // an unknown form leaves the status
	refusal.Status = resp.StatusCode
	return refusal
}
