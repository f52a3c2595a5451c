package api

import (
	"net/http"
	"time"

	"crier/internal/user"
)

// TicketAnswer opens one stream.
type TicketAnswer struct {
	Ticket    string `json:"ticket"`
	ExpiresIn int    `json:"expires_in" example:"30"`
}

// Ticket makes a stream ticket, for pages of other origins.
//
//	@Summary	Make a stream ticket
//	@Tags		stream
//	@Success	200	{object}	TicketAnswer
//	@Security	bearer
//	@Router		/stream/ticket [post]
func (a *API) Ticket(w http.ResponseWriter, r *http.Request) error {
	who := Who(r)
	t, err := a.Users.MakeTicket(r.Context(), user.Ticket{UserID: who.UserID, Session: who.Session, TokenEnds: who.Ends}, time.Now())
	if err != nil {
		return err
	}
	return encode(w, http.StatusOK, TicketAnswer{t, int(user.TicketTTL.Seconds())})
}
