package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// tally is what all streams have seen together.
type tally struct {
	mu         sync.Mutex
	arrived    int64
	doubled    int64
	disordered int64
	latencies  []time.Duration
}

// reader follows one user's stream. It parses no more than it must, so that it
// is not what is measured.
type reader struct {
	user  string
	last  int64
	ready chan struct{}
	tally *tally
	run   string // only notifications of this run count
}

// follow reads until ctx ends; any other end is an error.
func (r *reader) follow(ctx context.Context, client *http.Client, base, token string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/stream", nil)
	if err != nil {
		return fmt.Errorf("opening a stream: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("opening a stream: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("opening a stream: status %d", resp.StatusCode)
	}
	in := bufio.NewReaderSize(resp.Body, 32<<10)
	var kind, id []byte
	for {
		line, err := in.ReadSlice('\n')
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("reading the stream of user %s: %w", r.user, err)
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		switch {
		case bytes.HasPrefix(line, []byte("event: ")):
			kind = append(kind[:0], line[7:]...)
		case bytes.HasPrefix(line, []byte("id: ")):
			id = append(id[:0], line[4:]...)
		case bytes.HasPrefix(line, []byte("data: ")):
			if err := r.event(string(kind), string(id), line[6:]); err != nil {
				return err
			}
		}
	}
}

func (r *reader) event(kind, id string, data []byte) error {
	switch kind {
	case "ready":
		last, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			return fmt.Errorf("reading the place of user %s: %w", r.user, err)
		}
		r.last = last
		close(r.ready)
	case "notification":
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			return fmt.Errorf("reading a notification of user %s: %w", r.user, err)
		}
		r.arrive(n, data)
	}
	return nil
}

// stampKey stands before the time of sending in the payload.
const stampKey = `"bench":"`

func (r *reader) arrive(id int64, data []byte) {
	now := time.Now()
	var latency time.Duration = -1
	if i := bytes.Index(data, []byte(stampKey)); i >= 0 {
		run, rest, _ := strings.Cut(string(data[i+len(stampKey):min(len(data), i+len(stampKey)+80)]), "/")
		if end := strings.IndexByte(rest, '"'); run == r.run && end > 0 {
			if nano, err := strconv.ParseInt(rest[:end], 10, 64); err == nil {
				latency = now.Sub(time.Unix(0, nano))
			}
		}
	}
	r.tally.mu.Lock()
	defer r.tally.mu.Unlock()
	switch {
	case id <= r.last:
		r.tally.doubled++
		return
	case id > r.last+1:
		r.tally.disordered++
	}
	r.last = id
	if latency >= 0 {
		r.tally.arrived++
		r.tally.latencies = append(r.tally.latencies, latency)
	}
}
