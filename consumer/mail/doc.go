// Package mail sends notifications by email: messages of a text and an HTML part
// (RFC 5322, 2045) from templates, over one SMTP connection that is used for
// many, with List-Unsubscribe by POST (RFC 8058).
//
// A mail is a job that was inserted in the transaction that stored its
// notification. A job is done when the server has taken the mail (250 after the
// final dot). Where the connection is lost after that dot and before the
// answer, nobody can know: the mail is sent again, with the same Message-ID, by
// which many readers' servers drop the second.
package mail
