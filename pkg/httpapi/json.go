package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// writeJSON answers with a JSON value.
func writeJSON(w http.ResponseWriter, status int, v any) { writeAs(w, status, "application/json", v) }

func writeAs(w http.ResponseWriter, status int, mediaType string, v any) {
	body, err := appendJSON(nil, v)
	if err != nil { // no value of ours fails
		panic(err)
	}
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	w.Write(body) // nobody is left to tell
}

// appendJSON appends a value and a line break, with < and > as they are.
func appendJSON(b []byte, v any) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return buf.Bytes(), err
}

// readJSON reads the body of a request into a struct and returns its bytes. No
// body at all is an empty object. Beside it nothing is asked for: a parameter
// that is not looked at could have been meant to soften the request.
func readJSON(w http.ResponseWriter, r *http.Request, l Limits, into any) ([]byte, error) {
	if err := checkQuery(r.URL.Query(), func(string) bool { return false }); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, l.Body))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, &statusError{http.StatusRequestEntityTooLarge, token.Errorf(token.ErrUsage, "the body is over %d bytes long", large.Limit)}
	}
	if err != nil {
		return nil, token.Errorf(token.ErrUsage, "the body cannot be read: %w", err)
	}
	if len(body) == 0 {
		return body, nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &statusError{http.StatusUnsupportedMediaType, token.Errorf(token.ErrUsage, "the body is not application/json")}
	}
	return body, parseJSON(body, l.JSONDepth, into)
}

// parseJSON reads one JSON object, strictly: what two parsers could understand
// differently is an error.
func parseJSON(body []byte, depth int, into any) error {
	if !utf8.Valid(body) {
		return token.Errorf(token.ErrUsage, "the body is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := scanJSON(dec, depth); err != nil {
		return jsonError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return token.Errorf(token.ErrUsage, "something follows the JSON value in the body")
	}
	dec = json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	return jsonError(dec.Decode(into))
}

// jsonError is an error of decoding as one of ours. What a field's own reader
// says of its value is the better text.
func jsonError(err error) error {
	var told *token.Error
	if err == nil || errors.As(err, &told) {
		return err
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) && kind.Field != "" {
		return token.Errorf(token.ErrUsage, "the field %q in the body cannot be a JSON %s", kind.Field, kind.Value)
	}
	if errors.As(err, &kind) {
		return token.Errorf(token.ErrUsage, "the body cannot be a JSON %s", kind.Value)
	}
	return token.Errorf(token.ErrUsage, "the body is not what is expected here: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// scanJSON passes over a value. encoding/json takes the last of two fields of
// the same name, and takes upper case for lower: both are refused here.
func scanJSON(dec *json.Decoder, depth int) error {
	t, err := dec.Token()
	delim, nested := t.(json.Delim)
	if err != nil || !nested {
		return err
	}
	if depth == 0 {
		return token.Errorf(token.ErrUsage, "the JSON in the body is nested too deep")
	}
	seen := map[string]bool{}
	for dec.More() {
		if delim == '{' {
			t, err := dec.Token()
			if err != nil {
				return err
			}
			name := t.(string)
			if seen[name] {
				return token.Errorf(token.ErrUsage, "the field %q stands in the body twice", name)
			}
			if seen[name] = true; !isFieldName(name) {
				return token.Errorf(token.ErrUsage, "the field %q in the body is unknown", name)
			}
		}
		if err := scanJSON(dec, depth-1); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

func isFieldName(s string) bool {
	return s == legacyDays || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
}
