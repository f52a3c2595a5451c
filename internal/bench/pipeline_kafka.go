package bench

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"crier/internal/kafka"
)

// produceEvery is how often a producer writes what has become due: short beside
// any latency that is measured, and long beside what a wake-up costs.
const produceEvery = time.Millisecond

// produce is send by Kafka: the records of a backend's own producer, keyed by
// user, on the same fixed schedule. What counts as accepted was acknowledged.
func (p *Pipeline) produce(ctx context.Context, rate int, run string) (accepted, failed int64) {
	var sent, bad atomic.Int64
	var waiting sync.WaitGroup
	total := int64(float64(rate) * p.cfg.Duration.Seconds())
	clock := time.NewTicker(produceEvery)
	defer clock.Stop()
	began := time.Now()
	for n := int64(0); n < total && ctx.Err() == nil; {
		for due := min(total, 1+int64(time.Since(began).Seconds()*float64(rate))); n < due; n++ {
			user := p.users[int(n)%len(p.users)]
			waiting.Add(1)
			p.cfg.Producer.ProduceAsync(ctx, kafka.Record{Topic: kafka.Notifications, Key: []byte(user), Value: p.notification(user, run)}, func(_ kafka.Record, err error) {
				defer waiting.Done()
				if err != nil {
					bad.Add(1)
					return
				}
				sent.Add(1)
			})
		}
		select {
		case <-clock.C:
		case <-ctx.Done():
		}
	}
	waiting.Wait()
	return sent.Load(), bad.Load()
}

// usage is CPU time that was used so far.
type usage struct{ program, postgres time.Duration }

func (u usage) since(before usage) usage {
	return usage{u.program - before.program, u.postgres - before.postgres}
}

// usage reads what this process and those of Postgres have used; zero where that
// cannot be read.
func (p *Pipeline) usage() (u usage) {
	u.program, _ = cpuTime(os.Getpid()) // not everywhere there is a /proc
	if p.cfg.Backend != 0 {
		u.postgres, _ = familyCPU(p.cfg.Backend)
	}
	return u
}
