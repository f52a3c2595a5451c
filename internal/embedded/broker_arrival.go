package embedded

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// arrivalTolerance is how far a batch's time may be from its arrival. Producers set it
// when a record is handed to them, a moment before.
const arrivalTolerance = 2 * time.Second

// stampArrival gives records the time of their arrival, as brokers do in topics of
// message.timestamp.type=LogAppendTime: the broker's library knows the setting and leaves
// the producers' times.
func (b *Broker) stampArrival() {
	b.cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		now := time.Now().UnixMilli()
		for _, t := range r.(*kmsg.ProduceRequest).Topics {
			for _, p := range t.Partitions {
				arrived(p.Records, now)
			}
		}
		return nil, nil, false // it is handled as any other
	})
}

// Offsets of fields in a record batch of version 2 (https://kafka.apache.org/documentation/#recordbatch).
const (
	batchMagic      = 16
	batchCRC        = 17 // of all that follows it
	batchAttributes = 21
	batchFirstTime  = 27
	batchMaxTime    = 35
	batchHeader     = 61
)

// arrived moves a batch's times so that its latest is now, in milliseconds of Unix time,
// where that is not so already. Its records keep their distances from each other, which
// are within their possibly compressed bytes.
func arrived(batch []byte, now int64) {
	if len(batch) < batchHeader || batch[batchMagic] != 2 {
		return // the broker refuses it
	}
	first, last := binary.BigEndian.Uint64(batch[batchFirstTime:]), binary.BigEndian.Uint64(batch[batchMaxTime:])
	off := now - int64(last)
	if max(off, -off) <= arrivalTolerance.Milliseconds() {
		return
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	if binary.BigEndian.Uint32(batch[batchCRC:]) != crc32.Checksum(batch[batchAttributes:], table) {
		return // likewise
	}
	binary.BigEndian.PutUint64(batch[batchFirstTime:], first+uint64(off))
	binary.BigEndian.PutUint64(batch[batchMaxTime:], uint64(now))
	binary.BigEndian.PutUint32(batch[batchCRC:], crc32.Checksum(batch[batchAttributes:], table))
}
