package kafka

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	"crier/internal/event"
)

// Header is one header of a record: its Key, and its Value. It is the library's
// own, so that the headers of a hundred thousand records a second are not copied.
type Header = kgo.RecordHeader

// Record is a record read from, or to be written to, a topic. What was read
// must not be written to.
type Record struct {
	Topic     string // without the prefix
	TopicID   string // UUID text; set on what was read
	Partition int32
	Offset    int64
	Time      time.Time // of its arrival at the broker (see topicConfig); set on what was read
	Key       []byte
	Value     []byte
	Headers   []Header
	Marker    bool // the end of a transaction, not a record (see GroupConfig)
}

// SignalRecord is the record of a signal.
func SignalRecord(s event.Signal) Record {
	value, err := json.Marshal(s)
	if err != nil {
		panic("a signal did not encode: " + err.Error()) // it holds texts and numbers
	}
	return Record{Topic: Signals, Key: []byte(s.UserID), Value: value}
}

// RoomRecord is the record of a request to a room.
func RoomRecord(r *event.RoomRequest) Record {
	value, err := json.Marshal(r)
	if err != nil {
		panic("a request to a room did not encode: " + err.Error()) // it holds texts and numbers
	}
	return Record{Topic: Rooms, Key: []byte(r.Room), Value: value}
}

// Origin says which record it is.
func (r *Record) Origin() event.Origin {
	return event.Origin{TopicID: r.TopicID, Partition: r.Partition, Offset: r.Offset, Fingerprint: r.Fingerprint()}
}

// Fingerprint tells the record from others that have been at the same offset; 0
// where its timestamp is not known.
func (r *Record) Fingerprint() int64 {
	if r.Time.IsZero() {
		return 0
	}
	h := xxhash.New()
	var n [12]byte
	binary.BigEndian.PutUint64(n[:8], uint64(r.Time.UnixMilli()))
	binary.BigEndian.PutUint32(n[8:], uint32(len(r.Key)))
	_, _ = h.Write(n[:]) // a hash takes everything
	_, _ = h.Write(r.Key)
	_, _ = h.Write(r.Value)
	return int64(max(h.Sum64(), 1))
}

// Header is the value of the last header of that name, "" if there is none.
func (r *Record) Header(key string) string {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == key {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}

func (c *Client) fromKgo(k *kgo.Record, topic, id string) Record {
	return Record{Topic: topic, TopicID: id, Partition: k.Partition, Offset: k.Offset, Time: k.Timestamp, Key: k.Key, Value: k.Value, Headers: k.Headers, Marker: k.Attrs.IsControl()}
}

// toKgo leaves the timestamp to be that of the attempt. The library measures its
// delivery timeout from it, so a record that is produced a second time with the
// timestamp of the first would time out at once, and again each time.
func (c *Client) toKgo(r *Record) *kgo.Record {
	return &kgo.Record{Topic: c.cfg.TopicPrefix + r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers}
}

func (c *Client) bare(topic string) string { return strings.TrimPrefix(topic, c.cfg.TopicPrefix) }

func uuidText(id [16]byte) string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:36], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// Partition is the partition of a key as the Java client and franz-go choose
// it: murmur2, made positive, modulo the number of partitions.
func Partition(key []byte, partitions int32) int32 {
	return int32(murmur2(key)&0x7fffffff) % partitions
}

// murmur2 is Austin Appleby's MurmurHash2 with the seed that Kafka's Java
// client uses (org.apache.kafka.common.utils.Utils.murmur2).
func murmur2(b []byte) uint32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := (uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24) * m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}
