package kafka

import (
	"strconv"
	"strings"
	"time"
)

// maxReason bounds the header that says why: with the largest record it must fit
// into one of `dead-letters`.
const maxReason = 4 << 10

// DeadLetter is the record that quarantines another: its key, value and
// headers as they came, and headers that say why and where from.
func DeadLetter(r *Record, code, reason string) Record {
	headers := make([]Header, 0, len(r.Headers)+6)
	headers = append(headers, r.Headers...)
	for _, h := range []struct{ key, value string }{
		{"reason", strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")},
		{"code", code},
		{"origin_topic", r.Topic},
		{"origin_partition", strconv.Itoa(int(r.Partition))},
		{"origin_offset", strconv.FormatInt(r.Offset, 10)},
		{"origin_time", r.Time.UTC().Format(time.RFC3339Nano)},
	} {
		headers = append(headers, Header{Key: h.key, Value: []byte(h.value)})
	}
	return Record{Topic: DeadLetters, Key: r.Key, Value: r.Value, Headers: headers}
}
