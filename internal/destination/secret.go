package destination

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
)

// signingSecretBytes are within the 24 to 64 bytes of Standard Webhooks.
const signingSecretBytes = 32

func newSigningSecret() []byte {
	b := make([]byte, signingSecretBytes)
	_, _ = rand.Read(b) // never fails, see its document
	return b
}

// secretText is a signing secret as its owner gets it: the libraries of Standard
// Webhooks take it so.
func secretText(b []byte) string { return "whsec_" + base64.StdEncoding.EncodeToString(b) }

// accountSecretLength and accountAlphabet are older clients': 32 letters and
// digits, about 190 bits.
const (
	accountSecretLength = 32
	accountAlphabet     = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

func newAccountSecret() string {
	out := make([]byte, 0, accountSecretLength)
	var b [64]byte
	for len(out) < accountSecretLength {
		_, _ = rand.Read(b[:]) // never fails, see its document
		for _, c := range b {
			// 248 is the largest multiple of 62 in a byte; what is above would favour
			// the first letters.
			if c < 248 && len(out) < accountSecretLength {
				out = append(out, accountAlphabet[c%62])
			}
		}
	}
	return string(out)
}

// hashSecret is how an account's secret is kept. It is random, so that a plain
// hash cannot be guessed from.
func hashSecret(text string) []byte {
	h := sha256.Sum256([]byte(text))
	return h[:]
}

// IsSecret says whether text is the account's secret.
func (a Account) IsSecret(text string) bool {
	return text != "" && subtle.ConstantTimeCompare(hashSecret(text), a.secretHash) == 1
}
