package kafka

import (
	"context"
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

// madeAgain reports whether a topic has another id than at the last call. It asks
// Kafka every newPartitionCheck at most; a topic that is missing at present, or a
// cluster that does not answer, is asked about again later.
func (w *watch) madeAgain(ctx context.Context) bool {
	if time.Since(w.checked) < newPartitionCheck {
		return false
	}
	w.checked = time.Now()
	if w.ids == nil {
		w.ids = make(map[string]string, len(w.topics))
	}
	again := false
	for _, topic := range w.topics {
		ask, cancel := context.WithTimeout(ctx, newPartitionCheck)
		now, err := w.c.info(ask, topic)
		cancel()
		if err != nil {
			continue
		}
		before, known := w.ids[topic]
		w.ids[topic] = now.id
		if known && before != now.id {
			again = true
			if w.c.cfg.Log != nil {
				w.c.cfg.Log.Warn("a topic was deleted and made again; reading the new one from its beginning", "topic", topic, "before", before, "topic_id", now.id)
			}
		}
	}
	return again
}
