package inbox_test

import (
	"testing"

	"crier/internal/inbox"
)

// A notification replaces its own sender's unread one with the same collapse key, in the
// same batch or an earlier one, and nobody else's.
func TestCollapseIsTheSenders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	of := func(offset int64, sender, key string) inbox.Item {
		it := item(ann, offset)
		it.Sender, it.Collapse = sender, key
		return it
	}
	replaced := func(out []inbox.Outcome) (ids []int64) {
		for _, o := range out {
			ids = append(ids, o.Stored.Replaces)
		}
		return ids
	}
	for _, c := range []struct {
		name  string
		items []inbox.Item
		want  []int64
	}{
		{"one of each", []inbox.Item{of(1, "key:shop", "a"), of(2, "key:bank", "a"), of(3, "key:shop", "b"), of(4, "", "a")}, []int64{0, 0, 0, 0}},
		{"again", []inbox.Item{of(5, "key:bank", "a"), of(6, "key:shop", "a"), of(7, "", "a")}, []int64{2, 1, 4}},
		{"twice in one batch", []inbox.Item{of(8, "key:shop", "a"), of(9, "key:bank", "b"), of(10, "key:shop", "a")}, []int64{6, 0, 8}},
	} {
		got := replaced(w.put(c.items...))
		for i := range c.want {
			if got[i] != c.want[i] {
				t.Errorf("%s: replaced %v, want %v", c.name, got, c.want)
				break
			}
		}
	}
	head, err := w.Head(t.Context(), ann)
	if err != nil || head.LastID != 10 || head.Counts.Unread != 5 || head.Counts.Unseen != 5 {
		t.Errorf("the inbox has %+v, %v, want 5 unread of 10", head, err)
	}
}
