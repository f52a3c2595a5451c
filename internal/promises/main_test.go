package promises

import (
	"testing"

	"crier/internal/criertest"
)

func TestMain(m *testing.M) { criertest.Main(m) }
