package gateway_test

import (
	"encoding/json"
	"testing"
)

// A name is one name however its letters are composed or how wide they are: keyboards
// and systems write é as one character or as two, and nobody can see which.
func TestNamesInOneForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, c := range []struct{ first, shown, second string }{
		{"\u00e9mile", "\u00e9mile", "e\u0301mile"},
		{"Zoe\u0308", "Zo\u00eb", "ZO\u00cb"},
		{"\uff41\uff4e\uff4e", "ann", "Ann"},
		{"fi\uff42er", "fiber", "\ufb01ber"},
		{"\u1112\u1161\u11ab", "\ud55c", "\ud55c"},
	} {
		status, _, text := w.ask("POST", "/api/v1/signup", `{"username":"`+c.first+`","password":"correct horse"}`)
		var made struct{ Username string }
		if err := json.Unmarshal([]byte(text), &made); status != 201 || err != nil || made.Username != c.shown {
			t.Fatalf("%q: %d %s, want %q", c.first, status, text, c.shown)
		}
		for _, path := range []string{"/api/v1/signup", "/signup"} {
			if status, _, text := w.ask("POST", path, `{"username":"`+c.second+`","password":"correct horse"}`); status != 409 && (path != "/signup" || status != 400) {
				t.Errorf("%s as %q beside %q: %d %s", path, c.second, c.first, status, text)
			}
		}
		for _, name := range []string{c.first, c.shown, c.second} {
			if status, _, text := w.ask("POST", "/api/v1/login", `{"username":"`+name+`","password":"correct horse"}`); status != 200 {
				t.Errorf("signing in to %q as %q: %d %s", c.first, name, status, text)
			}
		}
	}
	// What only one form shows is no letter of a name.
	for _, name := range []string{"\ufdfa", "a\u2100"} {
		if status, _, text := w.ask("POST", "/api/v1/signup", `{"username":"`+name+`","password":"correct horse"}`); status != 400 {
			t.Errorf("%q: %d %s, want 400", name, status, text)
		}
	}
	// Who has a name of before, in another form, keeps it.
	if _, err := w.db.Exec(t.Context(), `update users set username = $1 where username = $2`, "e\u0301mile", "\u00e9mile"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"e\u0301mile": 200, "\u00e9mile": 401} {
		if status, _, text := w.ask("POST", "/api/v1/login", `{"username":"`+name+`","password":"correct horse"}`); status != want {
			t.Errorf("%q of before: %d %s, want %d", name, status, text, want)
		}
	}
}
