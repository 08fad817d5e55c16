package secret_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

func Example() {
	keys, err := secret.NewKeys(1, map[uint32][]byte{1: []byte("32 bytes that the key file holds")})
	if err != nil {
		log.Fatal(err)
	}
	h := secret.NewHasher(keys, secret.HasherOptions{})

	// Made: the secret goes to its owner, once, and the verifier to the store.
	id := secret.NewID(time.Now())
	passcode := secret.New(secret.Passcode, id)
	stored := h.Fast(secret.Use{Kind: "user", ID: id}, passcode)

	// Presented: the text leads to the id, the id to what is stored.
	got, err := secret.Parse(passcode.Reveal())
	if err != nil {
		log.Fatal(err)
	}
	result, err := h.Check(context.Background(), secret.Use{Kind: "user", ID: got.ID}, got.Secret, stored)
	fmt.Println(got.Form, got.ID == id, result.OK, err)

	// What was stored for one use checks for no other.
	result, err = h.Check(context.Background(), secret.Use{Kind: "refresh", ID: got.ID}, got.Secret, stored)
	fmt.Println(result.OK, err)
	// Output:
	// passcode true true <nil>
	// false <nil>
}

func ExampleHasher_Slow() {
	keys, err := secret.NewKeys(1, map[uint32][]byte{1: []byte("32 bytes that the key file holds")})
	if err != nil {
		log.Fatal(err)
	}
	h := secret.NewHasher(keys, secret.HasherOptions{})
	ctx := context.Background()

	use := secret.Use{Kind: "password", Name: "local/alice"}
	stored, err := h.Slow(ctx, use, secret.FromText("correct horse"))
	if err != nil {
		log.Fatal(err)
	}
	result, err := h.Check(ctx, use, secret.FromText("correct horse"), stored)
	fmt.Printf("%+v %v\n", result, err)
	result, err = h.Check(ctx, use, secret.FromText("battery staple"), stored)
	fmt.Printf("%+v %v\n", result, err)
	// Output:
	// {OK:true Outdated:false} <nil>
	// {OK:false Outdated:false} <nil>
}

func ExampleParse() {
	text := "tkp_dc195w01081g81860123456789ABCDEFGHIJKLMNOPQRSTUV259kY4"
	got, err := secret.Parse(text)
	fmt.Println(got.Form, got.ID, got.ID.Time(), got.Secret, err)

	_, err = secret.Parse(strings.Replace(text, "ABC", "ACB", 1))
	fmt.Println(errors.Is(err, secret.ErrMalformed), err)
	// Output:
	// passcode dc195w01081g8186 2026-11-22 07:00:00 +0000 UTC [redacted] <nil>
	// true malformed secret: its checksum does not match, probably a typing error
}

func ExampleSecret() {
	s := secret.FromText("hunter2")
	fmt.Printf("%v %+v %q %x\n", s, struct{ password secret.Secret }{s}.password, s, s)
	fmt.Println(s.Reveal())
	// Output:
	// [redacted] [redacted] [redacted] [redacted]
	// hunter2
}
