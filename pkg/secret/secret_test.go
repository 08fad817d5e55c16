package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"text/template"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

const hush = "tkp_dc195w01081g81860123456789ABCDEFGHIJKLMNOPQRSTUV259kY4"

// leaks reports whether printed shows a part of hush, or of an encoding of it.
func leaks(printed string) bool {
	quotedBytes := strings.Trim(fmt.Sprint([]byte(hush[8:12])), "[]")
	for _, part := range []string{
		hush[8:12], hush[42:48], // no digits alone, which a time or an address may hold
		hex.EncodeToString([]byte(hush[8:12])), strings.ToUpper(hex.EncodeToString([]byte(hush[8:12]))),
		base64.StdEncoding.EncodeToString([]byte(hush))[8:16], quotedBytes,
	} {
		if strings.Contains(printed, part) {
			return true
		}
	}
	return false
}

type exported struct{ S secret.Secret }

// unexported is what fmt prints by reflection, without the methods of Secret.
type unexported struct{ s secret.Secret }

type nested struct{ inner *struct{ s []secret.Secret } }

func TestNoVerbPrintsASecret(t *testing.T) {
	s := secret.FromText(hush)
	text, err := secret.Parse(hush)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secret.NewKeys(1, map[uint32][]byte{1: bytes.Repeat([]byte{0xc3}, 32)})
	if err != nil {
		t.Fatal(err)
	}
	values := []any{
		s, &s, []secret.Secret{s}, map[string]secret.Secret{"k": s}, [1]secret.Secret{s},
		exported{s}, &exported{s}, unexported{s}, &unexported{s}, []unexported{{s}}, map[int]unexported{1: {s}},
		nested{&struct{ s []secret.Secret }{[]secret.Secret{s}}}, struct{ t secret.Text }{text}, struct{ s any }{s},
		fmt.Errorf("with %v", s), reflect.ValueOf(s), reflect.ValueOf(unexported{s}),
	}
	if leaks(fmt.Sprintf("%v", 1)) || !leaks(fmt.Sprintf("%x", hush)) || !leaks(fmt.Sprintf("%q", hush)) || !leaks(fmt.Sprint([]byte(hush))) {
		t.Fatal("leaks does not see leaks")
	}
	for _, flags := range []string{"", "+", "#", "+#", " ", "-60", "060", ".80", "70.80", "# "} {
		for verb := 'A'; verb <= 'z'; verb++ {
			format := "%" + flags + string(verb)
			for _, v := range values {
				if printed := fmt.Sprintf(format, v); leaks(printed) {
					t.Errorf("Sprintf(%q, %T) = %s", format, v, printed)
				}
			}
			for _, printed := range []string{fmt.Sprintf(format, keys), fmt.Sprintf(format, *keys)} {
				if strings.Contains(printed, "195 195") || strings.Contains(strings.ToLower(printed), "c3c3c3") || strings.Contains(printed, "c3, 0xc3") {
					t.Errorf("Sprintf(%q, %T) = %s", format, keys, printed)
				}
			}
			if printed := fmt.Sprintf(format, s); verb != 'T' && verb != 'p' && strings.ContainsRune("vsqxXdobt", verb) && printed != "[redacted]" {
				t.Errorf("Sprintf(%q, secret) = %s", format, printed)
			}
		}
	}
	for _, printed := range []string{fmt.Sprint(s), fmt.Sprintln(s), s.String(), s.GoString(), fmt.Sprint(&s)} {
		if strings.TrimSpace(printed) != "[redacted]" {
			t.Errorf("printed %s", printed)
		}
	}
}

func TestNoEncoderPrintsASecret(t *testing.T) {
	s := secret.FromText(hush)
	values := []any{s, &s, exported{s}, unexported{s}, map[string]any{"k": s}, []secret.Secret{s}}
	encoders := map[string]func(*bytes.Buffer, any) error{
		"json": func(b *bytes.Buffer, v any) error { return json.NewEncoder(b).Encode(v) },
		"xml":  func(b *bytes.Buffer, v any) error { return xml.NewEncoder(b).Encode(v) },
		"gob":  func(b *bytes.Buffer, v any) error { return gob.NewEncoder(b).Encode(v) },
		"slog text": func(b *bytes.Buffer, v any) error {
			slog.New(slog.NewTextHandler(b, nil)).Info("m", "key", v, "group", slog.GroupValue(slog.Any("in", v)))
			return nil
		},
		"slog json": func(b *bytes.Buffer, v any) error {
			slog.New(slog.NewJSONHandler(b, nil)).Info("m", "key", v, "group", slog.GroupValue(slog.Any("in", v)))
			return nil
		},
		"template": func(b *bytes.Buffer, v any) error {
			return template.Must(template.New("").Parse(`{{.}} {{printf "%s %q %x" . . .}}`)).Execute(b, v)
		},
	}
	for name, encode := range encoders {
		for _, v := range values {
			var b bytes.Buffer
			err := encode(&b, v)
			if leaks(b.String()) || err != nil && leaks(err.Error()) {
				t.Errorf("%s of %T: %s, %v", name, v, b.String(), err)
			}
		}
		var b bytes.Buffer
		if err := encode(&b, s); err == nil && !strings.Contains(b.String(), "[redacted]") {
			t.Errorf("%s of a secret: %s", name, b.String())
		}
	}
}

func TestSecretIsNotDecoded(t *testing.T) {
	for _, text := range []string{`{"S":"[redacted]"}`, `{"S":"x"}`, `{"S":{}}`, `{"S":["x"]}`} {
		got := exported{secret.FromText("before")}
		if err := json.Unmarshal([]byte(text), &got); err == nil || got.S.Reveal() != "before" {
			t.Errorf("decoded %s: %v, %q", text, err, got.S.Reveal())
		}
	}
}

func TestSecretIsNotComparable(t *testing.T) {
	if reflect.TypeFor[secret.Secret]().Comparable() {
		t.Error("secrets can be compared with ==")
	}
}

func TestSecretKeepsItsText(t *testing.T) {
	for _, text := range []string{"", "x", hush, "späß \x00\xff", strings.Repeat("long", 1000)} {
		s := secret.FromText(text)
		if s.Reveal() != text || s.Len() != len(text) || s.IsZero() != (text == "") {
			t.Errorf("FromText(%q): %q, %d, %v", text, s.Reveal(), s.Len(), s.IsZero())
		}
		if !s.Equal(secret.FromText(strings.Clone(text))) || s.Equal(secret.FromText(text+"x")) || s.Equal(secret.FromText("y"+text)) {
			t.Errorf("Equal of %q", text)
		}
	}
	if !(secret.Secret{}).IsZero() || (secret.Secret{}).Reveal() != "" || !(secret.Secret{}).Equal(secret.FromText("")) {
		t.Error("the zero value is not empty")
	}
	if secret.FromText(hush).Equal(secret.FromText(strings.ToUpper(hush))) {
		t.Error("Equal folds")
	}
}

func TestErrorsTellNothing(t *testing.T) {
	garbled := []string{hush[:57], hush + "x", strings.Replace(hush, "ABCD", "ABDC", 1), "x" + hush[1:], strings.Replace(hush, "C", "!", 1)}
	for _, text := range garbled {
		_, err := secret.Parse(text)
		if !errors.Is(err, secret.ErrMalformed) || leaks(err.Error()) {
			t.Errorf("Parse: %v", err)
		}
		if _, err := secret.ParsePlain(secret.Plain15, text); !errors.Is(err, secret.ErrMalformed) || leaks(err.Error()) {
			t.Errorf("ParsePlain: %v", err)
		}
		if _, err := secret.ParseID(text); !errors.Is(err, secret.ErrMalformed) || leaks(err.Error()) {
			t.Errorf("ParseID: %v", err)
		}
	}
}
