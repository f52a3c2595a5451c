package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"crier/internal/event"
	"crier/internal/kafka"
)

// results follows what became of the records that this command has produced: the
// topic `results` has one answer for each. It is used by one goroutine.
type results struct {
	tail     *kafka.Tail
	patience time.Duration // without any result
	waiting  map[position]bool
	found    map[position]event.Result
}

// position is where a record of `notifications` is.
type position struct {
	partition int32
	offset    int64
}

// errNoResult says that a record is in Kafka and that nothing is known of what
// became of it.
var errNoResult = errors.New("no result has come: Kafka has the notification, and it is stored as soon as a consumer reads it")

// followResults begins before anything is produced, so that no result is missed.
func followResults(ctx context.Context, k *kafka.Client, patience time.Duration) (*results, error) {
	tail, err := k.Tail(ctx, kafka.Results)
	if err != nil {
		return nil, fmt.Errorf("following the results (--wait 0 does without): %w", err)
	}
	return &results{tail: tail, patience: patience, waiting: make(map[position]bool), found: make(map[position]event.Result)}, nil
}

// of waits for the results of records and returns them in their order.
func (r *results) of(ctx context.Context, recs []kafka.Record) ([]event.Result, error) {
	clear(r.found)
	for i := range recs {
		r.waiting[position{recs[i].Partition, recs[i].Offset}] = true
	}
	for heard := time.Now(); len(r.waiting) > 0; {
		before := len(r.waiting)
		wait, cancel := context.WithTimeoutCause(ctx, time.Until(heard.Add(r.patience)), fmt.Errorf("%w (waited %v)", errNoResult, r.patience))
		_, err := r.tail.Poll(wait, r.take)
		cancel()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
		if len(r.waiting) < before {
			heard = time.Now()
		}
	}
	out := make([]event.Result, len(recs))
	for i := range recs {
		out[i] = r.found[position{recs[i].Partition, recs[i].Offset}]
	}
	return out, nil
}

func (r *results) take(recs iter.Seq[*kafka.Record]) {
	for rec := range recs {
		var res event.Result
		if json.Unmarshal(rec.Value, &res) != nil || res.Topic != kafka.Notifications {
			continue // not ours to judge
		}
		if at := (position{res.Partition, res.Offset}); r.waiting[at] {
			delete(r.waiting, at)
			r.found[at] = res
		}
	}
}

// refusal is why a record was not stored; nil: it was, or will be.
func refusal(res *event.Result) error {
	if res.Status != event.StatusRejected {
		return nil
	}
	return fmt.Errorf("rejected (%s): %s", res.Code, res.Error)
}

// close ends the connections; it may be called on nil.
func (r *results) close() {
	if r != nil {
		r.tail.Close()
	}
}
