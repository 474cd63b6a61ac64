"""FastAPI as its tutorial has it: a plain `def` route, which runs in the thread pool."""

import sys

import uvicorn
from fastapi import FastAPI, Response, UploadFile
from plain_model import PlainModel

app = FastAPI()
model = PlainModel()


@app.get("/ready")
def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/predict")
def predict(file: UploadFile) -> Response:
    return Response(model.predict(file.file.read()), media_type="image/png")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
