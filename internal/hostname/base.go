package hostname

import "net/url"

// IsBase reports whether text is the base URL of an HTTP server, to which paths can be
// appended.
func IsBase(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") && u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}
