// Package httpapi is both ends of the wire: the handlers of a server, and a
// [Client] that is an authority.Service, with one form of every message and one
// table of errors between them. It knows no files, listeners or settings.
package httpapi
