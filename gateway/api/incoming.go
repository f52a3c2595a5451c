package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"crier/internal/event"
	"crier/internal/kafka"
	"crier/internal/problem"
	"crier/internal/user"
)

// IncomingRequest is the body of POST /incoming.
type IncomingRequest struct {
	event.Incoming
	SecretToken string `json:"secret_token,omitempty"`
}

// AcceptedItem says where Kafka keeps what was pushed in.
type AcceptedItem struct {
	EventID   string `json:"event_id"`
	Topic     string `json:"topic" example:"incoming"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// Incoming takes data for an account's destinations: 202 means that Kafka has
// acknowledged it.
//
//	@Summary		Push data in for an account
//	@Description	Every destination of the account gets it. Answered once Kafka has acknowledged it: from then on it is not lost.
//	@Tags			data pusher
//	@Param			body			body		IncomingRequest	true	"account_id and data (any JSON, at most 64 KiB)"
//	@Param			X-Account-Token	header		string			false	"the account's secret token, if not in the body"
//	@Param			Idempotency-Key	header		string			false	"the same key and data within 24 h gives the first answer again"
//	@Success		202				{object}	AcceptedItem
//	@Failure		400,401,404,422,503	{object}	Problem
//	@Security		bearer
//	@Security		apikey
//	@Router			/incoming [post]
func (a *API) Incoming(w http.ResponseWriter, r *http.Request) error {
	var in IncomingRequest
	if err := decode(w, r, &in); err != nil {
		return err
	}
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		in.IdempotencyKey = key
	}
	if in.SecretToken == "" {
		in.SecretToken = r.Header.Get(AccountToken)
	}
	answer, err := a.TakeIn(r.Context(), Who(r), in.SecretToken, in.Incoming)
	if err != nil {
		return err
	}
	return encode(w, http.StatusAccepted, answer)
}

// TakeIn checks what is pushed in and the sender's right, and returns what to
// answer once Kafka has acknowledged it.
func (a *API) TakeIn(ctx context.Context, who Principal, token string, in event.Incoming) (any, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	acc, err := a.Reach(ctx, who, token, in.AccountID)
	if err != nil {
		return nil, err
	}
	sender := senderOf(acc.ID)
	if err := a.rates.push(sender, time.Now()); err != nil {
		return nil, err
	}
	if in.IdempotencyKey == "" {
		if in.EventID == "" {
			in.EventID = event.NewID()
		}
		return a.produceItem(ctx, in)
	}
	if in.EventID == "" {
		in.EventID = event.EventIDOf(sender, in.IdempotencyKey, "")
	}
	hash := sha256.Sum256(in.Data)
	return a.once(ctx, sender, in.IdempotencyKey, hash[:], func() (any, error) { return a.produceItem(ctx, in) })
}

// once answers a key that was seen before as the first time.
func (a *API) once(ctx context.Context, sender, key string, hash []byte, produce func() (any, error)) (any, error) {
	given, err := a.Users.BeginSend(ctx, sender, key, hash, time.Now())
	if errors.Is(err, user.ErrKeyReused) {
		return nil, problem.New(problem.KeyReused, "The key was used within 24 h for something else.")
	}
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, "The key could not be noted.", err)
	}
	if given != "" {
		return json.RawMessage(given), nil
	}
	answer, err := produce()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	if err := a.Users.EndSend(context.WithoutCancel(ctx), sender, key, string(text)); err != nil {
		// It is accepted all the same; a repeat is produced again and found to be
		// a duplicate by the consumer.
		a.Log.Warn("an idempotent send's answer was not kept", "error", err)
	}
	return answer, nil
}

func (a *API) produceItem(ctx context.Context, in event.Incoming) (any, error) {
	recs := []kafka.Record{{Topic: kafka.Incoming, Key: strconv.AppendInt(nil, int64(in.AccountID), 10), Value: in.AppendJSON(nil)}}
	// Once begun, the produce is not undone by a client that goes away.
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), sendTimeout, fmt.Errorf("Kafka did not acknowledge within %v", sendTimeout))
	defer cancel()
	if err := a.Kafka.Produce(ctx, recs...); err != nil {
		return nil, problem.Wrap(problem.Unavailable, "Kafka did not acknowledge it; send it again with the same Idempotency-Key.", err)
	}
	return AcceptedItem{EventID: in.EventID, Topic: recs[0].Topic, Partition: recs[0].Partition, Offset: recs[0].Offset}, nil
}
