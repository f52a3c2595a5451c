// Package compat answers the requests of older systems' clients, so that they
// move over by changing a host name: the table of aliases, and the older
// protocols' forms, mapped onto the handlers of gateway/api and the sockets of
// gateway/ws. No logic is written twice: what is here reads one form and writes
// another.
//
// docs/compatible-clients.md names the page of each system, which lists its requests.
package compat
