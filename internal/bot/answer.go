package bot

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"crier/internal/client"
	"crier/internal/decimal"
)

// help is the answer to help=.
const help = "I know: /stock=SYMBOL for a quote, such as /stock=aapl.us or /stock=BTCUSDT · /alert=BTCUSDT above 70000 to be told when a price is reached · /help= for this."

// answer is what is said to a command; "" for one that is not the bot's.
func (b *Bot) answer(ctx context.Context, c command) string {
	switch c.name {
	case "stock":
		return b.quote(ctx, c)
	case "alert":
		return b.alert(ctx, c)
	case "help":
		return help
	}
	return ""
}

// symbols are what quotes are asked for.
var symbols = regexp.MustCompile(`^[A-Za-z0-9.^_/:-]{1,32}$`)

// quote answers stock=SYMBOL: from Crier where it watches the symbol, else from
// the CSV source.
func (b *Bot) quote(ctx context.Context, c command) string {
	symbol := strings.ToUpper(c.text)
	if !symbols.MatchString(symbol) {
		return "That is no symbol; a quote is asked for with /stock=aapl.us."
	}
	price, err := b.watched(ctx, c, symbol)
	if err == nil && price == "" {
		price, err = b.quotes.get(ctx, symbol)
	}
	switch {
	case err == nil:
		return fmt.Sprintf("%s quote is $%s per share", symbol, price)
	case errors.Is(err, errUnknownSymbol):
		return fmt.Sprintf("I could not find the symbol %s.", symbol)
	case errors.Is(err, errTimeout):
		return fmt.Sprintf("The source of quotes did not answer within %v; ask again later.", quoteTimeout)
	case errors.Is(err, errNoQuote):
		return fmt.Sprintf("The source of quotes answered for %s with something that is no quote.", symbol)
	}
	b.log.Warn("a quote could not be had", "symbol", symbol, "error", err)
	return "The source of quotes cannot be reached; ask again later."
}

// watched is Crier's own last price of a symbol, "" if it has none.
func (b *Bot) watched(ctx context.Context, c command, symbol string) (string, error) {
	var prices struct {
		Results []struct {
			Symbol string `json:"symbol"`
			Price  string `json:"price"`
		} `json:"results"`
	}
	as := client.Client{Base: b.cfg.URL, Token: c.token, HTTP: b.client.HTTP}
	if err := as.Do(ctx, "GET", "/prices", nil, &prices); err != nil {
		return "", err
	}
	for _, p := range prices.Results {
		if p.Symbol == symbol {
			return p.Price, nil
		}
	}
	return "", nil
}

// alertText is SYMBOL above or below TARGET.
var alertText = regexp.MustCompile(`(?i)^([A-Za-z0-9._/:-]{1,50})\s+(above|below)\s+\$?([0-9][0-9.,_]*)$`)

// alert sets an alert for whoever asked.
func (b *Bot) alert(ctx context.Context, c command) string {
	if b.cfg.APIKey == "" {
		return "I may not set alerts here: whoever runs me has given me no API key."
	}
	m := alertText.FindStringSubmatch(c.text)
	if m == nil {
		return "I did not understand that; an alert is set with /alert=BTCUSDT above 70000."
	}
	target := strings.NewReplacer(",", "", "_", "").Replace(m[3])
	if _, err := decimal.Parse(target); err != nil {
		return fmt.Sprintf("%s is no price.", m[3])
	}
	symbol, condition := strings.ToUpper(m[1]), strings.ToLower(m[2])
	as := client.Client{Base: b.cfg.URL, APIKey: b.cfg.APIKey, HTTP: b.client.HTTP}
	var made struct {
		ID int64 `json:"id"`
	}
	err := as.Do(ctx, "POST", "/alerts", map[string]any{"user_id": c.user, "symbol": symbol, "condition": condition, "target": target, "note": "Set in room " + c.room + "."}, &made)
	var refusal *client.Error
	switch {
	case err == nil:
		return fmt.Sprintf("@%s: alert %d is set; you will be told when %s is at or %s %s.", c.username, made.ID, symbol, condition, target)
	case errors.As(err, &refusal) && refusal.Status < 500:
		return fmt.Sprintf("@%s: the alert was refused: %s", c.username, refusal.Detail)
	}
	b.log.Warn("an alert was not set", "error", err)
	return fmt.Sprintf("@%s: the alert could not be set now; ask again later.", c.username)
}

// quoteTimeout bounds the wait for the source of quotes.
const quoteTimeout = 5 * time.Second

// Errors of quotes.
var (
	errUnknownSymbol = errors.New("the source does not know the symbol")
	errTimeout       = errors.New("the source did not answer in time")
	errNoQuote       = errors.New("the source's answer is no quote")
)

// quotes asks a source for the last price of stocks, as CSV with a line of names
// before the line of values, as stooq.com's /q/l/ has it.
type quotes struct {
	address string
	http    *http.Client
}

func newQuotes(address string) *quotes {
	return &quotes{address, &http.Client{Timeout: quoteTimeout}}
}

// maxQuote bounds what is read of an answer.
const maxQuote = 64 << 10

func (q *quotes) get(ctx context.Context, symbol string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.ReplaceAll(q.address, "{symbol}", url.QueryEscape(strings.ToLower(symbol))), nil)
	if err != nil {
		return "", fmt.Errorf("asking for a quote: %w", err)
	}
	resp, err := q.http.Do(req)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "", errTimeout
	}
	if err != nil {
		return "", fmt.Errorf("asking for a quote: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("asking for a quote: status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxQuote))
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "", errTimeout
	}
	if err != nil {
		return "", fmt.Errorf("asking for a quote: %w", err)
	}
	return parseQuote(string(body))
}

// parseQuote reads the price out of a source's answer.
func parseQuote(text string) (string, error) {
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(rows) < 2 {
		return "", errNoQuote
	}
	for i, name := range rows[0] {
		if !strings.EqualFold(strings.TrimSpace(name), "close") {
			continue
		}
		value := strings.TrimSpace(rows[1][i])
		if strings.EqualFold(value, "N/D") {
			return "", errUnknownSymbol
		}
		price, err := decimal.Parse(value)
		if err != nil || price.Sign() < 0 {
			return "", errNoQuote
		}
		return value, nil
	}
	return "", errNoQuote
}
