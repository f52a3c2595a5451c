package hub

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"
)

// writers are a fake of the gateway's: each frame takes them so long.
type writers struct {
	mu    sync.Mutex
	since time.Time // when they last had nothing to do
	done  time.Time // when they will have
	cost  time.Duration
}

func (w *writers) take() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if !w.done.After(now) {
		w.since, w.done = now, now
	}
	w.done = w.done.Add(w.cost)
}

func (w *writers) lag() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); w.done.After(now) {
		return now.Sub(w.since)
	}
	return 0
}

// round is how long they need for one round to so many viewers.
func (w *writers) round(d time.Duration, viewers int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cost = d / time.Duration(viewers)
}

// viewer is a sink that keeps the writers busy.
type viewer struct {
	reader
	writers *writers
}

func (v *viewer) Send(e *Event) bool {
	v.writers.take()
	return v.reader.Send(e)
}

// rush is a hub with viewers of one symbol, of which there is a tick every
// millisecond until stop.
func (w *world) rush(viewers int) (wr *writers, all []*viewer, stop func()) {
	wr = &writers{}
	w.LagFunc = wr.lag
	for range viewers {
		v := &viewer{reader: *newReader(), writers: wr}
		v.sub = w.Subscribe("", "", v)
		v.sub.Start(0, Head{})
		v.sub.Follow([]string{"A"}, MaxRate)
		all = append(all, v)
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for p := int64(1); ; p++ {
			w.Tick(tick("A", p), time.Now())
			select {
			case <-end:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return wr, all, func() { close(end); <-ended }
}

// Busy is as of a socket with an outbox of a few rounds.
func (v *viewer) Busy() bool {
	v.writers.mu.Lock()
	defer v.writers.mu.Unlock()
	return time.Until(v.writers.done) > 4*time.Second || v.reader.Busy()
}

func (v *viewer) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.events)
}

// over is how many rounds came in so many seconds.
func (v *viewer) over(seconds int) int {
	before := v.count()
	<-time.After(time.Duration(seconds) * time.Second)
	return v.count() - before
}

// The rate falls to what the writers manage, and no lower than 1 a second; when
// they have room again it comes back. It does not go up and down all the time at
// a load between two rates. What is reached is told.
func TestPace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		takes time.Duration // of the writers, for a round
		rate  float64       // that is settled on
	}{
		{10 * time.Millisecond, 10}, {90 * time.Millisecond, 10}, {150 * time.Millisecond, 5}, {190 * time.Millisecond, 5},
		{210 * time.Millisecond, 10. / 3}, {350 * time.Millisecond, 2.5}, {450 * time.Millisecond, 10. / 6}, {610 * time.Millisecond, 1}, {990 * time.Millisecond, 1}, {3 * time.Second, 1},
	} {
		t.Run(c.takes.String(), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *world) {
				wr, all, stop := w.rush(10)
				defer stop()
				if n := all[0].over(5); n < 49 || n > 51 {
					t.Errorf("with all the time of the world %d rounds in 5 s, want 50", n)
				}
				wr.round(c.takes, len(all))
				<-time.After(6 * time.Second)
				// What takes more than a second has viewers that are busy besides.
				if n := float64(all[0].over(60)); math.Abs(n-60*c.rate) > max(2, 3*c.rate) && c.takes <= time.Second {
					t.Errorf("%.0f rounds in a minute, want %.0f", n, 60*c.rate)
				}
				if s := w.TickStats(); math.Abs(s.Reached-c.rate) > 0.6 || math.Abs(s.Allowed-c.rate) > 0.01 {
					t.Errorf("reported %+v, want %.0f a second", s, c.rate)
				}
				wr.round(10*time.Millisecond, len(all))
				<-time.After(30 * time.Second)
				if n := all[0].over(5); n < 49 || n > 51 {
					t.Errorf("when there is room again %d rounds in 5 s, want 50", n)
				}
				if s := w.TickStats(); s.Late != 0 && c.takes <= time.Second {
					t.Errorf("%d were passed over, and none was busy", s.Late)
				}
			})
		})
	}
}

// One round that takes long, as while the collector works, changes nothing but
// the one after it.
func TestPaceHiccup(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		wr, all, stop := w.rush(10)
		defer stop()
		for range 10 {
			<-time.After(time.Second)
			wr.round(250*time.Millisecond, len(all))
			rounds(1)
			wr.round(5*time.Millisecond, len(all))
			if n := all[0].over(1); n < 7 {
				t.Errorf("%d rounds in the second after a hiccup", n)
			}
			if s := w.TickStats(); s.Allowed != 10 {
				t.Errorf("after a hiccup %.0f a second", s.Allowed)
			}
		}
	})
}

// A load that comes back each time that rounds come more often is tried less and
// less often.
func TestPaceProbesLess(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		wr, all, stop := w.rush(10)
		defer stop()
		changes, minute := [6]int{}, 0
		last := w.TickStats().Allowed
		for ; minute < len(changes); minute++ {
			for range 600 {
				<-time.After(round)
				now := w.TickStats().Allowed
				if now != last {
					changes[minute]++
					last = now
				}
				// Fast writers while there is little to do, slow ones as soon as there is much.
				if now == 10 {
					wr.round(180*time.Millisecond, len(all))
				} else {
					wr.round(20*time.Millisecond, len(all))
				}
			}
		}
		if changes[0] < 2 || changes[5] > 5 {
			t.Errorf("changes by minute %v, want fewer and fewer", changes)
		}
	})
}

// A viewer that is busy slows nobody but itself down, and is counted.
func TestPaceIsNotOneViewers(t *testing.T) {
	t.Parallel()
	bubble(t, func(t *testing.T, w *world) {
		_, all, stop := w.rush(10)
		defer stop()
		rounds(3)
		for _, v := range all[:3] {
			v.setBusy(true)
		}
		before := w.TickStats().Late
		if n := all[9].over(5); n < 49 || n > 51 {
			t.Errorf("%d rounds in 5 s beside busy viewers, want 50", n)
		}
		if late := w.TickStats().Late - before; late < 3*49 || late > 3*51 {
			t.Errorf("%d passed over, want 3 in each of 50 rounds", late)
		}
	})
}

// Whoever asks for less gets less, also while there is less for all.
func TestPaceAndRate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		takes time.Duration
		rate  int
		want  float64 // rounds are of their time: 3 of 200 ms between two, not 2.5
	}{
		{time.Millisecond, 2, 2}, {time.Millisecond, 5, 5}, {150 * time.Millisecond, 2, 5. / 3}, {150 * time.Millisecond, 10, 5}, {800 * time.Millisecond, 5, 1}, {800 * time.Millisecond, 1, 1},
	} {
		t.Run(fmt.Sprint(c.takes, " ", c.rate), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(t *testing.T, w *world) {
				wr, all, stop := w.rush(10)
				defer stop()
				wr.round(c.takes, len(all))
				slow := &viewer{reader: *newReader(), writers: wr}
				slow.sub = w.Subscribe("", "", slow)
				slow.sub.Follow([]string{"A"}, c.rate)
				<-time.After(10 * time.Second)
				if n := float64(slow.over(30)); math.Abs(n-30*c.want) > 2*c.want {
					t.Errorf("%.0f rounds in 30 s, want %.1f a second", n, c.want)
				}
			})
		})
	}
}
