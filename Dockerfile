# zslab with its web page and its training scripts; docs/docker.md has the commands.
#
#   docker build -t zslab .                             CPU
#   docker build -t zslab --build-arg TORCH=cu132 .     CUDA 13.2
FROM python:3.12-slim

# Which build of PyTorch: cpu, or a CUDA version as PyTorch's index names it.
ARG TORCH=cpu

ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1 OMP_NUM_THREADS=4

WORKDIR /zslab
RUN pip install torch torchvision --index-url https://download.pytorch.org/whl/${TORCH}

# The requirements change less often than the code: this layer is kept while pyproject.toml is the same.
COPY pyproject.toml README.md LICENSE ./
RUN mkdir zslab && echo '__version__ = "0"' > zslab/__init__.py && pip install --editable '.[images,video,web]' && rm -r zslab

COPY zslab zslab
COPY zero-shot-images zero-shot-images
COPY zero-shot-actions zero-shot-actions
RUN useradd --create-home user && mkdir -p data models runs && chown user data models runs zero-shot-*/data
USER user
VOLUME ["/zslab/data", "/zslab/models", "/zslab/runs"]
EXPOSE 7860
HEALTHCHECK --interval=30s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=5)"]

CMD ["zslab", "predict", "--model", "models/model.zsl", "--web", "--host", "0.0.0.0"]
