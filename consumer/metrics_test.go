package consumer

import (
	"strings"
	"testing"

	"crier/internal/kafka"
	"crier/internal/telemetry"
)

// Every counter exists before its first event.
func TestCountersExistFromTheStart(t *testing.T) {
	t.Parallel()
	reg := telemetry.NewRegistry("1.2.3")
	newMetrics(reg)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := make(map[string]bool)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetName() + "=" + l.GetValue()
			}
			series[name] = true
		}
	}
	for _, want := range []string{
		"crier_consumer_records_total outcome=rejected topic=" + kafka.Notifications, "crier_consumer_records_total outcome=scheduled topic=" + kafka.Notifications,
		"crier_consumer_records_total outcome=stored topic=" + kafka.Incoming, "crier_consumer_triggers_total verdict=fired", "crier_consumer_triggers_total verdict=again",
		"crier_consumer_triggers_total verdict=cooling", "crier_consumer_triggers_total verdict=paused", "crier_consumer_retries_total",
	} {
		if !series[want] {
			t.Errorf("no series %s", want)
		}
	}
	built := false
	for name := range series {
		built = built || strings.HasPrefix(name, "crier_build_info goversion=go") && strings.HasSuffix(name, "version=1.2.3")
	}
	if !built {
		t.Error("no series crier_build_info with the version")
	}
}
