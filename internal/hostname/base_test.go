package hostname_test

import (
	"testing"

	"crier/internal/hostname"
)

func TestIsBase(t *testing.T) {
	for text, want := range map[string]bool{
		"https://push.example.org": true, "http://h:80/crier/": true, "http://[::1]:8080": true,
		"": false, "push.example.org": false, "ftp://h": false, "http://": false, "http://h/?": false, "http://h/?x": false, "http://h/#x": false, "http://u:p@h": false, "http://h:x": false,
	} {
		if got := hostname.IsBase(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}
