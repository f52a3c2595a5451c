package kafka

import (
	"context"
	"maps"
	"time"
)

// watch notices topics that were deleted and made again under a reader: the
// library goes by the id that it saw first. It is used by one goroutine.
type watch struct {
	c       *Client
	topics  []string
	ids     map[string]string // by topic; absent: not yet known
	checked time.Time
}

// check calls again when a topic has another id than before, and at the next check
// again where that fails. It asks Kafka every newPartitionCheck at most; a topic that
// is missing at present, or a cluster that does not answer, is asked about later.
func (w *watch) check(ctx context.Context, again func() error) error {
	if time.Since(w.checked) < newPartitionCheck {
		return nil
	}
	w.checked = time.Now()
	first := w.ids == nil
	if first {
		w.ids = make(map[string]string, len(w.topics))
	}
	present := make(map[string]string, len(w.topics))
	changed := false
	for _, topic := range w.topics {
		ask, cancel := context.WithTimeout(ctx, newPartitionCheck)
		now, err := w.c.info(ask, topic)
		cancel()
		if err != nil {
			continue
		}
		present[topic] = now.id
		// A topic that is first seen later may have been made again before: what the
		// reader goes by is not known.
		if before := w.ids[topic]; before != now.id && (before != "" || !first) {
			changed = true
			if w.c.cfg.Log != nil {
				w.c.cfg.Log.Warn("a topic was made, or deleted and made again; reading the present one", "topic", topic, "before", before, "topic_id", now.id)
			}
		}
	}
	if changed {
		if err := again(); err != nil {
			return err
		}
	}
	maps.Copy(w.ids, present)
	return nil
}
