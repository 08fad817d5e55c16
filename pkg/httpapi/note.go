package httpapi

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"time"
)

// note is what the log is to say of a request beside what it asked for.
type note struct {
	id     string // goes into errors too, so that both are found together
	caller string
	err    error
}

type noteKey struct{}

// noteOf is the note of a request, or nil.
func noteOf(r *http.Request) *note {
	n, _ := r.Context().Value(noteKey{}).(*note)
	return n
}

// requestID is what errors and the log call a request by.
func requestID(r *http.Request) string {
	if n := noteOf(r); n != nil {
		return n.id
	}
	return ""
}

func newRequestID() string { return rand.Text()[:16] }

// told writes the line about a request, and counts it. Probes come every few
// seconds and are only told when they fail.
func (h *handler) told(r *http.Request, rec *recorder, route string, took time.Duration) {
	h.Observer.Request(route, r.Method, rec.status, took)
	level := slog.LevelInfo
	switch {
	case rec.status >= 500:
		level = slog.LevelError
	case r.URL.Path == "/livez" || r.URL.Path == "/readyz":
		level = slog.LevelDebug
	}
	if !h.Log.Enabled(context.Background(), level) {
		return
	}
	n := noteOf(r)
	attrs := []slog.Attr{
		slog.String("request_id", n.id), slog.String("method", r.Method), slog.String("route", route),
		slog.Int("status", rec.status), slog.Float64("took_ms", float64(took.Microseconds())/1000), slog.String("from", h.clientAddress(r)),
	}
	if n.caller != "" {
		attrs = append(attrs, slog.String("caller", n.caller))
	}
	if n.err != nil {
		attrs = append(attrs, slog.String("error", n.err.Error()))
	}
	h.Log.LogAttrs(context.Background(), level, "request", attrs...)
}
