package lifecycle

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(Rare(slog.NewTextHandler(&out, nil)))
		for i := range 5 {
			log.Warn("away", "i", i)
			log.With("part", "gateway").Warn("away")
			log.WithGroup("g").Error("refused", "i", i)
			log.Info("said")
		}
		time.Sleep(2 * time.Minute)
		log.Warn("away")
		for what, want := range map[string]int{"msg=away": 2, "msg=refused": 1, "msg=said": 5, "repeated=9": 1} {
			if n := strings.Count(out.String(), what); n != want {
				t.Errorf("%s stands %d times, not %d:\n%s", what, n, want, out.String())
			}
		}
	})
}
