package compat

import (
	"net/http"

	"crier/gateway/api"
	"crier/internal/problem"
	"crier/internal/user"
)

// Texts that clients compare.
const (
	textTaken       = "Username already exists"
	textCredentials = "Invalid credentials"
	textNoLogin     = "Unable to log in with provided credentials."
	textMissing     = "Missing required fields"
	textKnownEmail  = "Email already registered"
	textInvalidData = "Invalid data"
)

// signup is A's.
func (c *clients) signup(w http.ResponseWriter, r *http.Request) error {
	f, err := read(w, r)
	if err != nil {
		return err
	}
	if !f.has("username", "password") {
		return refuse(w, http.StatusBadRequest, "error", nil, textMissing)
	}
	_, err = c.SignUp(r.Context(), api.SignupRequest{Username: f.text("username"), Password: f.text("password"), Email: optional(f, "email"), Invite: optional(f, "invite")})
	if err != nil && problem.Of(err).Code == problem.UsernameTaken {
		return refuse(w, http.StatusBadRequest, "error", nil, textTaken)
	}
	if err != nil {
		return refuse(w, http.StatusBadRequest, "error", err, "")
	}
	return answer(w, http.StatusCreated, map[string]string{"success": "Account created"})
}

func optional(f fields, name string) string {
	if !f.has(name) {
		return ""
	}
	return f.text(name)
}

// registerEmail is B's: the address is the name, where a name may look so.
func (c *clients) registerEmail(w http.ResponseWriter, r *http.Request) error {
	f, err := read(w, r)
	if err != nil {
		return err
	}
	if !f.has("email", "password") {
		return refuse(w, http.StatusBadRequest, "error", nil, textInvalidData)
	}
	in := api.SignupRequest{Username: api.UsernameOf(f.text("email")), Password: f.text("password"), Email: f.text("email"), Invite: optional(f, "invite")}
	acc, err := c.SignUp(r.Context(), in)
	if err != nil {
		if code := problem.Of(err).Code; code == problem.EmailTaken || code == problem.UsernameTaken {
			return refuse(w, http.StatusBadRequest, "error", nil, textKnownEmail)
		}
		return refuse(w, http.StatusBadRequest, "error", err, "")
	}
	return answer(w, http.StatusCreated, map[string]string{"email": acc.Email})
}

// register is E's.
func (c *clients) register(w http.ResponseWriter, r *http.Request) error {
	f, err := read(w, r)
	if err != nil {
		return err
	}
	acc, err := c.SignUp(r.Context(), api.SignupRequest{Username: optional(f, "username"), Password: optional(f, "password"), Email: optional(f, "email"), Invite: optional(f, "invite")})
	if err != nil {
		if p, ok := isInput(err); ok {
			return answer(w, http.StatusBadRequest, byField(p))
		}
		return err
	}
	return answer(w, http.StatusCreated, map[string]string{"username": acc.Username, "email": acc.Email})
}

// logIn reads who signs in, and begins a lasting session.
func (c *clients) logIn(w http.ResponseWriter, r *http.Request) (api.LoginAnswer, error) {
	f, err := read(w, r)
	if err != nil {
		return api.LoginAnswer{}, err
	}
	return c.LogIn(w, r, api.LoginRequest{Username: optional(f, "username"), Email: optional(f, "email"), Password: optional(f, "password"), Kind: user.Lasting})
}

// login is A's and E's. E's clients know nothing of refreshing: their token is good
// as long as its session.
func (c *clients) login(w http.ResponseWriter, r *http.Request) error {
	in, err := c.logIn(w, r)
	if err == nil {
		return answer(w, http.StatusOK, map[string]string{"access": in.Access, "refresh": in.Refresh, "token": in.Lasting})
	}
	if !fromPage(r) {
		return refuse(w, http.StatusBadRequest, "error", err, textCredentials)
	}
	p, ok := isInput(err)
	switch {
	case ok:
		return answer(w, http.StatusBadRequest, byField(p))
	case p.Code == problem.InvalidLogin:
		return answer(w, http.StatusBadRequest, byField(problem.New(p.Code, textNoLogin)))
	}
	return err
}

// loginB is B's, and A's at its second address. B's clients know nothing of
// refreshing either.
func (c *clients) loginB(w http.ResponseWriter, r *http.Request) error {
	in, err := c.logIn(w, r)
	if err != nil {
		return refuse(w, http.StatusUnauthorized, "error", err, textCredentials)
	}
	return answer(w, http.StatusOK, map[string]string{"access": in.Access, "refresh": in.Refresh, "JWT token": in.Lasting})
}

// refresh is A's.
func (c *clients) refresh(w http.ResponseWriter, r *http.Request) error {
	f, err := read(w, r)
	if err != nil {
		return err
	}
	in, err := c.Rotate(r.Context(), optional(f, "refresh"))
	if err != nil {
		return refuse(w, http.StatusUnauthorized, "error", err, "")
	}
	return answer(w, http.StatusOK, map[string]string{"access": in.Access, "refresh": in.Refresh})
}

// logout is E's; its clients send no body, and any other is theirs to choose.
func (c *clients) logout(w http.ResponseWriter, r *http.Request) error {
	f, err := read(w, r)
	if err != nil {
		return err
	}
	return c.LogOut(w, r, f.text("all") == "true")
}

// profile is E's.
func (c *clients) profile(w http.ResponseWriter, r *http.Request) error {
	acc, err := c.Users.ByID(r.Context(), api.Who(r).UserID)
	if err != nil {
		return problem.Wrap(problem.Unauthorized, "The account is gone.", err)
	}
	return answer(w, http.StatusOK, map[string]string{"username": acc.Username, "email": acc.Email})
}

// identity is C's sign-in.
func (c *clients) identity(w http.ResponseWriter, r *http.Request) error {
	in, err := c.logIn(w, r)
	if err != nil {
		return refuse(w, http.StatusUnauthorized, "detail", err, "")
	}
	return identified(w, in)
}

func identified(w http.ResponseWriter, in api.LoginAnswer) error {
	return answer(w, http.StatusOK, map[string]string{"identity": in.Access, "access": in.Access, "refresh": in.Refresh})
}

// identityRefresh is C's.
func (c *clients) identityRefresh(w http.ResponseWriter, r *http.Request) error {
	f, err := read(w, r)
	if err != nil {
		return err
	}
	in, err := c.Rotate(r.Context(), optional(f, "refresh"))
	if err != nil {
		return refuse(w, http.StatusUnauthorized, "detail", err, "")
	}
	return identified(w, in)
}

// identityVerify is C's.
func (c *clients) identityVerify(w http.ResponseWriter, r *http.Request) error {
	f, err := read(w, r)
	if err != nil {
		return err
	}
	if _, err := c.ByToken(r.Context(), optional(f, "token")); err != nil {
		return refuse(w, http.StatusUnauthorized, "detail", err, "")
	}
	return answer(w, http.StatusOK, struct{}{})
}

// isAuthenticated is C's: the route's scope has let in who is.
func (c *clients) isAuthenticated(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, http.StatusOK, struct{}{})
}
