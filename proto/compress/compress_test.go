package compress_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"google.golang.org/grpc/encoding"

	"github.com/fairlead/fairlead/proto/compress"
	"github.com/fairlead/fairlead/proto/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func pack(t testing.TB, message []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	w, err := encoding.GetCompressor(compress.Name).Compress(&packed)
	if err != nil {
		t.Fatal(err)
	}
	for part := range bytes.SplitSeq(message, []byte("\n")) {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func unpack(packed []byte) ([]byte, error) {
	r, err := encoding.GetCompressor(compress.Name).Decompress(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestMessagesOfAllSizesComeBackWhoeverElseCompresses(t *testing.T) {
	noise := make([]byte, 2<<20)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.IntN(250)) + 11 // no line break, which pack splits at
	}
	var all sync.WaitGroup
	for _, size := range []int{0, 1, 100, 4 << 10, 300 << 10, 2 << 20} {
		for _, message := range [][]byte{noise[:size], bytes.Repeat([]byte("x"), size)} {
			all.Go(func() {
				got, err := unpack(pack(t, message))
				if err != nil || !bytes.Equal(got, message) {
					t.Errorf("%d bytes came back as %d: %v", len(message), len(got), err)
				}
			})
		}
	}
	all.Wait()
}

func TestWhatUnpacksToMoreThanAFrameIsRefused(t *testing.T) {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	bomb := w.EncodeAll(make([]byte, link.MaxFrameBytes+1), nil)
	if got, err := unpack(bomb); err == nil {
		t.Errorf("%d bytes became %d", len(bomb), len(got))
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack(f, []byte("a message")))
	f.Add([]byte("\x28\xb5\x2f\xfd"))
	f.Fuzz(func(t *testing.T, packed []byte) {
		if got, err := unpack(packed); err == nil && len(got) > link.MaxFrameBytes {
			t.Errorf("%d bytes", len(got))
		}
	})
}
