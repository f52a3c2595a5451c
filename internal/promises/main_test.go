package promises

import (
	"flag"
	"testing"

	"crier/internal/criertest"
)

// atOnce is how many scenarios run at the same time. They wait more than they
// work: for leases to run out, for pages, for processes to come back.
const atOnce = "4"

func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set(atOnce); err != nil {
			panic(err)
		}
	}
	criertest.Main(m)
}
