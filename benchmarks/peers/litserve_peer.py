"""LitServe as its documentation has it: one LitAPI, a worker process a device."""

import sys

import litserve
from fastapi import Request, Response
from plain_model import PlainModel


class Segmentation(litserve.LitAPI):
    """decode_request -> predict -> encode_response."""

    def setup(self, device: str) -> None:
        """Load the model, once a worker."""
        self.model = PlainModel()

    async def decode_request(self, request: Request) -> bytes:
        """Read the upload; what LitServe hands over is the parsed form."""
        return await request["file"].read()

    async def predict(self, content: bytes) -> bytes:
        """Run the model."""
        return self.model.predict(content)

    async def encode_response(self, output: bytes) -> Response:
        """Wrap the PNG."""
        return Response(output, media_type="image/png")


if __name__ == "__main__":
    server = litserve.LitServer(Segmentation(enable_async=True), accelerator="cpu")
    server.run(port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
