package alert

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"crier/internal/decimal"
	"crier/internal/event"
)

// activeColumns are read by activeRow, in Postgres' binary formats: ten million
// rows are loaded at a start, and reading them one by one into Go's values took
// three times as long.
const activeColumns = `a.id, a.revision, a.partition, a.place, a.cooldown_ms, a.window_ms, a.confirm_ms, a.confirm_ticks, a.taken, a.topic_id,
	a.expires_at, a.last_fired_at, a.snoozed_until, a.target, a.high, a.hysteresis, a.symbol, a.source, a.condition, a.repeat`

// activeRow decodes one row after the other into the same alert. Texts that come
// again and again are kept.
type activeRow struct {
	a     Alert
	texts map[string]string
	topic [16]byte
	buf   []byte
}

// maxTexts bounds the texts that are kept.
const maxTexts = 100_000

var errRow = errors.New("a row of alerts is not as expected")

// check says whether the columns come in the form that read reads.
func (r *activeRow) check(fields []pgconn.FieldDescription) error {
	for i, f := range fields {
		if i < 16 && f.Format != pgx.BinaryFormatCode {
			return fmt.Errorf("%w: column %s is not binary", errRow, f.Name)
		}
	}
	r.texts = make(map[string]string)
	return nil
}

func (r *activeRow) text(b []byte) string {
	if s, ok := r.texts[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(r.texts) < maxTexts {
		r.texts[s] = s
	}
	return s
}

func (r *activeRow) read(v [][]byte) error {
	if len(v) != 20 || len(v[0]) != 8 || len(v[1]) != 8 || len(v[2]) != 4 || len(v[3]) != 8 || len(v[4]) != 8 || len(v[5]) != 8 || len(v[6]) != 8 || len(v[7]) != 4 || len(v[8]) != 1 || len(v[9]) != 16 {
		return errRow
	}
	int8 := func(i int) int64 { return int64(binary.BigEndian.Uint64(v[i])) }
	int4 := func(i int) int32 { return int32(binary.BigEndian.Uint32(v[i])) }
	a := &r.a
	a.ID, a.Revision = int8(0), int8(1)
	a.Place.Partition, a.Place.Offset = int4(2), int8(3)
	a.Cooldown, a.Window = time.Duration(int8(4))*time.Millisecond, time.Duration(int8(5))*time.Millisecond
	a.Confirm = event.Confirm{For: time.Duration(int8(6)) * time.Millisecond, Ticks: int(int4(7))}
	a.Taken, a.State = v[8][0] == 1, Created
	if id := [16]byte(v[9]); a.Place.TopicID == "" || id != r.topic {
		r.topic, a.Place.TopicID = id, uuidText(id)
	}
	for i, into := range []**time.Time{&a.ExpiresAt, &a.LastFiredAt, &a.Snoozed} {
		at, err := timeOf(v[10+i])
		if err != nil {
			return err
		}
		*into = at
	}
	for i, into := range []*decimal.Decimal{&a.Target, &a.High, &a.Hysteresis} {
		if err := r.numeric(v[13+i], into); err != nil {
			return fmt.Errorf("alert %d: %w", a.ID, err)
		}
	}
	a.Symbol, a.Source, a.Condition, a.Repeat = r.text(v[16]), r.text(v[17]), event.Condition(r.text(v[18])), r.text(v[19])
	return nil
}

func uuidText(id [16]byte) string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// epoch is where Postgres' times begin.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func timeOf(b []byte) (*time.Time, error) {
	if b == nil {
		return nil, nil
	}
	if len(b) != 8 {
		return nil, errRow
	}
	us := int64(binary.BigEndian.Uint64(b))
	// Not one sum of durations: those reach 292 years.
	at := epoch.Add(time.Duration(us/1e6) * time.Second).Add(time.Duration(us%1e6) * time.Microsecond)
	return &at, nil
}

// numeric reads Postgres' binary numeric: digits in base 10,000, the weight of
// the first, a sign, and how many decimals are shown.
func (r *activeRow) numeric(b []byte, into *decimal.Decimal) error {
	if b == nil {
		*into = decimal.Decimal{}
		return nil
	}
	if len(b) < 8 {
		return errRow
	}
	n := int(binary.BigEndian.Uint16(b))
	weight := int(int16(binary.BigEndian.Uint16(b[2:])))
	sign, scale := binary.BigEndian.Uint16(b[4:]), int(binary.BigEndian.Uint16(b[6:]))
	if len(b) != 8+2*n || sign != 0 && sign != 0x4000 || weight > 8 || weight < -8 || scale > 64 {
		return errRow
	}
	digit := func(i int) uint16 {
		if i < 0 || i >= n {
			return 0
		}
		return binary.BigEndian.Uint16(b[8+2*i:])
	}
	out := r.buf[:0]
	if sign != 0 {
		out = append(out, '-')
	}
	for i := 0; i <= max(weight, 0); i++ {
		if i > weight {
			out = append(out, '0')
			break
		}
		out = appendDigits(out, digit(i))
	}
	if scale > 0 {
		out = append(out, '.')
		from := len(out)
		for i := weight + 1; len(out)-from < scale; i++ {
			if i < 0 {
				out = append(out, "0000"...)
			} else {
				out = appendDigits(out, digit(i))
			}
		}
		out = out[:from+scale]
	}
	r.buf = out
	d, err := decimal.ParseBytes(out)
	*into = d
	return err
}

func appendDigits(b []byte, d uint16) []byte {
	return append(b, byte('0'+d/1000%10), byte('0'+d/100%10), byte('0'+d/10%10), byte('0'+d%10))
}
