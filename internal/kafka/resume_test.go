package kafka_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"crier/internal/criertest"
	"crier/internal/embedded"
	"crier/internal/kafka"
)

// A topic that is deleted and made again under a running group is read from its
// beginning, also by a member that was away meanwhile: what the group had
// committed was of the topic that is gone.
func TestGroupOfATopicMadeAgain(t *testing.T) {
	t.Parallel()
	criertest.Kafkas(t, func(t *testing.T, brokers string) {
		w := newWorld(t, brokers, 1)
		g, leave := w.leaving(kafka.GroupConfig{Name: "g", Topics: []string{kafka.Notifications, kafka.Triggers}})
		w.put(kafka.Notifications, 0, numbered("old", 5)...)
		w.take(g, 5, true)
		w.makeAgain(kafka.Notifications, 1)
		w.put2(kafka.Notifications, numbered("new", 8)...)
		if got := values(w.take(g, 8, true)); !slices.Equal(got, numbered("new", 8)) {
			t.Errorf("the running member read %v", got)
		}
		w.put(kafka.Triggers, 0, "other topic")
		if got := values(w.take(g, 1, true)); !slices.Equal(got, []string{"other topic"}) {
			t.Errorf("of the other topic it read %v", got)
		}
		leave()
		w.makeAgain(kafka.Notifications, 1)
		w.put2(kafka.Notifications, numbered("newer", 9)...)
		later := w.group(kafka.GroupConfig{Name: "g", Topics: []string{kafka.Notifications, kafka.Triggers}})
		if got := values(w.take(later, 9, true)); !slices.Equal(got, numbered("newer", 9)) {
			t.Errorf("the member that came later read %v", got)
		}
	})
}

// put2 is put by a client that knows nothing of what the topic was before.
func (w *world) put2(topic string, values ...string) {
	w.t.Helper()
	w.raw = w.client()
	w.put(topic, 0, values...)
}

// A broker that lost records which it had acknowledged (a power cut before they
// were flushed) gives their offsets to others. A group that had read them goes on
// with the first that it has not read, whether it comes back before or after the
// lost offsets were given again; and the loss is counted.
func TestGroupAfterLostRecords(t *testing.T) {
	t.Parallel()
	for _, more := range []int{4, 40} {
		t.Run(fmt.Sprint(more, " records meanwhile"), func(t *testing.T) {
			t.Parallel()
			dir, addr := t.TempDir(), criertest.FreeAddr(t)
			start := func() *embedded.Broker { return criertest.StartBroker(t, dir, addr) }
			b := start()
			w := newWorld(t, addr, 1)
			one := func(values ...string) {
				w.put2(kafka.Notifications, values[0])
				for _, v := range values[1:] { // a batch each, so that some can be cut off
					w.put(kafka.Notifications, 0, v)
				}
			}
			one(numbered("old", 30)...)
			g, err := w.Group(kafka.GroupConfig{Name: "g", Topics: []string{kafka.Notifications}})
			if err != nil {
				t.Fatal(err)
			}
			if got := w.take(g, 30, true); len(got) != 30 {
				t.Fatal(len(got))
			}
			g.Close()
			if err := b.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			log := filepath.Join(dir, "log", "partitions", w.prefix+kafka.Notifications+"-0", "0.dat")
			info, err := os.Stat(log)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(log, info.Size()*6/10); err != nil {
				t.Fatal(err)
			}
			start()
			w.Client = w.open()
			left := values(w.all(kafka.Notifications, 0))
			if len(left) < 10 || len(left) > 25 {
				t.Fatalf("%d of 30 records are left", len(left))
			}
			want := numbered("new", more)
			one(want...)
			g = w.group(kafka.GroupConfig{Name: "g", Topics: []string{kafka.Notifications}})
			var got []string
			for len(got) == 0 || got[len(got)-1] != want[more-1] {
				got = append(got, values(w.take(g, 1, true))...)
			}
			if i := slices.Index(got, want[0]); i < 0 || !slices.Equal(got[i:], want) {
				t.Errorf("read %v", got)
			}
			if w.Truncations() == 0 {
				t.Error("the loss was not counted")
			}
		})
	}
}
